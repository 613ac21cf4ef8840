"""The steps of `configs/cifar10_48bit_cpu.py` and of CNNH+, written in PyTorch as its users do.

Same networks, batches, losses, augmentation, updates and averages; layers, initial weights and
optimizers are PyTorch's own. The peer of `benchmarks.versus_torch`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = dict[str, Tensor]
BITS, CLASSES, NOISE = 48, 10, 100
SHARPNESS, MARGIN, TRIPLET_WEIGHT, DECAY = 4.0, 12.0, 0.1, 0.999
ANCHOR_EVERY = 4


class Conv3(nn.Sequential):
    """CNNH's network: 32, 64 and 128 filters of 5x5, 500 features, dropout 0.5."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(
            *layers, nn.Flatten(), nn.Linear(2048, 500), nn.ReLU(), nn.Dropout(0.5)
        )


class Generator(nn.Module):
    """DCGAN's, with 128, 64 and 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = nn.Linear(NOISE + CLASSES, 128 * 16, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(128), nn.ReLU()]
        for before, after in ((128, 64), (64, 32)):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                       nn.BatchNorm2d(after), nn.ReLU()]  # fmt: skip
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh())

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Noise `[batch, NOISE]` and one-hot labels -> images `[batch, 3, 32, 32]`."""
        seed = self.seed(torch.cat([noise, label], 1)).view(-1, 128, 4, 4)
        return self.layers(seed.contiguous(memory_format=torch.channels_last))


class Streams(nn.Module):
    """The shared network and its three streams; the hash stream's outputs are standardised."""

    def __init__(self, *, standardised: bool) -> None:
        super().__init__()
        self.representation = Conv3()
        self.hash = nn.Linear(500, BITS, bias=not standardised)
        self.norm = nn.BatchNorm1d(BITS, affine=False) if standardised else nn.Identity()
        self.adversary = nn.Linear(500, 1)
        self.classification = nn.Linear(500, CLASSES)

    def codes(self, features: Tensor) -> Tensor:
        """Code logits `[batch, BITS]`."""
        return self.norm(self.hash(features))


def augmented(images: Tensor) -> Tensor:
    """Random crops with four mirrored pixels, and flips: uint8 or float `[batch, 3, 32, 32]`."""
    if images.dtype == torch.uint8:
        images = images.float() / 127.5 - 1
    size, device = images.shape[-1], images.device
    padded = F.pad(images, (4, 4, 4, 4), mode="reflect")
    count = len(images)
    rows = torch.randint(0, 9, (count, 1), device=device) + torch.arange(size, device=device)
    columns = torch.randint(0, 9, (count, 1), device=device) + torch.arange(size, device=device)
    columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns.flip(1), columns)
    image = torch.arange(count, device=device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None]]
    return cropped.permute(0, 3, 1, 2)  # in channels-last memory


def joint_step(device: torch.device, wrap: Callable) -> Callable[[Batch], Tensor]:
    """DSH-GANs' joint step: discriminator, hash and generator update, and moving averages.

    Args:
      device: where it runs.
      wrap: what makes a network fast: the identity, or `torch.compile`.
    """
    streams = Streams(standardised=True).to(device, memory_format=torch.channels_last)
    generator = Generator().to(device, memory_format=torch.channels_last)
    represent, generate = wrap(streams.representation), wrap(generator)
    shared = [*streams.representation.parameters(), *streams.classification.parameters()]
    players = {
        "discriminator": [*shared, *streams.adversary.parameters()],
        "hash": [*shared, *streams.hash.parameters()],
        "generator": [*generator.parameters()],
    }
    rates = {"discriminator": (1e-3, 0.5), "hash": (1e-3, 0.9), "generator": (4e-4, 0.5)}
    optimizers = {name: torch.optim.Adam(players[name], lr=rate, betas=(momentum, 0.999))
                  for name, (rate, momentum) in rates.items()}  # fmt: skip
    average = average_of(streams, generator)

    def update(name: str, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, players[name])
        for parameter, gradient in zip(players[name], gradients, strict=True):
            parameter.grad = gradient
        optimizers[name].step()

    def step(batch: Batch) -> Tensor:
        image, unlabeled = augmented(batch["image"]), augmented(batch["unlabeled_image"])
        label = batch["label"]
        anchors, own = image[::ANCHOR_EVERY], label[::ANCHOR_EVERY]
        other = (own + torch.randint_like(own, 1, CLASSES)) % CLASSES
        drawn = torch.cat([own, other])
        noise = torch.randn(len(drawn), NOISE, device=device)
        one_hot = F.one_hot(drawn, CLASSES).float()
        with torch.no_grad():
            synthetic = augmented(generate(noise, one_hot))

        real = torch.cat([image, unlabeled])
        features = represent(torch.cat([real, synthetic]))
        sources = streams.adversary(features)[:, 0]
        adversarial = (F.softplus(-sources[: len(real)]).mean()
                       + F.softplus(sources[len(real) :]).mean()) / 2  # fmt: skip
        classes = F.cross_entropy(streams.classification(features[: len(image)]), label)
        update("discriminator", adversarial + classes)

        features = represent(torch.cat([anchors, synthetic]))
        codes = torch.sigmoid(SHARPNESS * streams.codes(features))
        classes = F.cross_entropy(streams.classification(features[: len(own)]), own)
        hash_loss = TRIPLET_WEIGHT * triplet_loss(codes) + classes
        update("hash", hash_loss)

        images = augmented(generate(noise, one_hot))
        features = represent(torch.cat([images, anchors]))
        synthetic_features, of_anchors = features.split([len(images), len(anchors)])
        deceived = F.softplus(-streams.adversary(synthetic_features)[:, 0]).mean()
        classes = F.cross_entropy(streams.classification(synthetic_features), drawn)
        codes = torch.sigmoid(
            SHARPNESS * streams.codes(torch.cat([of_anchors, synthetic_features]))
        )
        update("generator", deceived + classes + TRIPLET_WEIGHT * triplet_loss(codes))
        average()
        return hash_loss.detach()

    return step


def cnnh_plus_step(device: torch.device, wrap: Callable) -> Callable[[Batch], Tensor]:
    """CNNH+'s step: codes and classes of labeled images."""
    streams = Streams(standardised=False).to(device, memory_format=torch.channels_last)
    represent = wrap(streams.representation)
    trained = [*streams.representation.parameters(), *streams.hash.parameters(),
               *streams.classification.parameters()]  # fmt: skip
    optimizer = torch.optim.Adam(trained, lr=1e-3, betas=(0.9, 0.999))
    average = average_of(streams)

    def step(batch: Batch) -> Tensor:
        features = represent(augmented(batch["image"]))
        codes = F.binary_cross_entropy_with_logits(streams.codes(features), batch["target"])
        loss = codes + F.cross_entropy(streams.classification(features), batch["label"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average()
        return loss.detach()

    return step


def triplet_loss(codes: Tensor) -> Tensor:
    """Of anchors, positives and negatives, one third of the rows each."""
    anchor, positive, negative = codes.chunk(3)
    closer = (anchor - positive).square().sum(1) - (anchor - negative).square().sum(1)
    return F.relu(MARGIN + closer).mean()


def average_of(*networks: nn.Module) -> Callable[[], None]:
    """Keeps moving averages of networks; the result takes one step of them."""
    current = [p for network in networks for p in network.parameters()]
    kept = [p.detach().clone() for p in current]

    def advance() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(kept, [p.detach() for p in current], 1 - DECAY)

    return advance
