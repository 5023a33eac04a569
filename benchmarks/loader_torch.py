"""The other side of `benchmarks/loader.py`: a PyTorch DataLoader with Pillow, run by a Python that has torch.

    python benchmarks/loader_torch.py TAR --variant uint8|float --workers 2 --batches 60

Prints {"images_per_second": by the clock, "images_per_core_second": by the processor time of all processes}.
The transform is torchvision's RandomResizedCrop(224, scale=(0.5, 1), bicubic) on Pillow images, written out;
torchvision itself calls the same two Pillow functions. "float" also does ToTensor and Normalize, as open_clip does in
its workers; "uint8" leaves that to the device, as mmjax does.
"""

import argparse
import io
import json
import math
import random
import tarfile

import numpy as np
import torch
from PIL import Image
from rates import rates

MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)


class Photographs(torch.utils.data.Dataset):
    """The pictures of a tar, held in memory as files, so that no disk is measured."""

    def __init__(self, tar: str, variant: str, size: int):
        with tarfile.open(tar) as archive:
            members = [member for member in archive if member.name.endswith(".jpg")]
            self.files = [file.read() for member in members if (file := archive.extractfile(member))]
        self.variant, self.size = variant, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(self.files[index])).convert("RGB")
        left, top, width, height = crop_box(*image.size)
        crop = image.crop((left, top, left + width, top + height))
        crop = crop.resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous()
        return pixels if self.variant == "uint8" else pixels.float().div(255).sub_(MEAN).div_(STD)


def crop_box(width: int, height: int) -> tuple[int, int, int, int]:
    """torchvision's RandomResizedCrop.get_params: left, top, width, height."""
    for _ in range(10):
        area = width * height * random.uniform(0.5, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar")
    parser.add_argument("--variant", choices=("uint8", "float"), default="uint8")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Photographs(args.tar, args.variant, args.size)
    needed = (args.batches + 30) * args.batch_size
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=needed)
    loader = torch.utils.data.DataLoader(
        data, args.batch_size, sampler=sampler, num_workers=args.workers, drop_last=True
    )
    print(json.dumps(rates(iter(loader), args.batches, args.batch_size)))


if __name__ == "__main__":
    main()
