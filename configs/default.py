"""Every field of an experiment, with the paper's setting where it is published.

"Ours" marks a value that no paper gives. The other configs start from this one.
"""

import re

from ml_collections import ConfigDict

from dsh_jax.errors import UserError


def bits(argument: str | int, name: str) -> int:
    """The number of bits after the colon of `--config configs/NAME.py:48`.

    Raises:
      UserError: it is missing or not a number.
    """
    if not re.fullmatch("[1-9][0-9]*", str(argument)):
        instead = f", not {argument!r}" if argument != "" else ""
        raise UserError(
            f"configs/{name}.py takes the number of bits after a colon, as in "
            f"--config configs/{name}.py:48{instead}."
        )
    return int(argument)


def adam(learning_rate: float) -> ConfigDict:
    """The fields of an optimizer."""
    # All ours: the papers name no optimizer. Adam as in DCGAN.
    return ConfigDict(
        {
            "name": "adam",  # adam | sgd, with Nesterov's momentum
            "learning_rate": learning_rate,  # peak
            "b1": 0.5,  # decay of the first moment; the momentum of sgd
            "b2": 0.999,  # decay of the second moment; not used by sgd
            "weight_decay": 0.0,  # decoupled, of kernels only
            # constant | linear | cosine | quarter_cosine; all but the first end at 0
            "schedule": "cosine",
            "warmup_steps": 0,  # steps of linear warm-up
            "clip_norm": 0.0,  # largest global norm of a gradient; 0 is no clipping
        }
    )


def get_config() -> ConfigDict:
    """DSH-GANs on CIFAR-10, 48 bits."""
    config = ConfigDict()

    config.method = "dsh_gan"  # dsh_gan | cnnh (configs/cnnh.py)
    config.seed = 0  # of weights, noise and the order of batches
    config.num_bits = 48  # code length
    config.dtype = "float32"  # float32 | bfloat16, of the networks' arithmetic; params are float32
    config.num_devices = 0  # devices to split a batch over; 0 is all

    config.data = ConfigDict()
    config.data.source = "cifar10"  # cifar10 | digits | multi_digits
    config.data.data_dir = ""  # TFDS directory; empty is TFDS' own (~/tensorflow_datasets)
    config.data.dry_run = False  # count and show the images without training
    config.data.split_seed = 0  # of the split, so that runs with several seeds can share one
    config.data.split_file = ""  # a split.json of another run, to share its split
    # A name of `dsh_jax.data.splits.by_class.PROTOCOLS`, instead of the next four fields.
    config.data.protocol = ""
    # Classes that training never sees; queries and database are of these alone. 0 is none.
    config.data.unseen_classes = 0
    # Images; 0 is the official test set, -1 automatic: that set, or else a tenth of each class.
    config.data.queries_per_class = 100
    config.data.labeled_per_class = 500  # images; 0 is all of the train set
    config.data.database = "rest"  # rest: all but queries | unlabeled: neither query nor labeled
    # Images held back for choosing the best checkpoint, and where from: "labeled" or "unlabeled"
    # (database images that training never sees); -1 is a tenth of each class. Ours; never queries.
    config.data.validation_per_class = 100
    config.data.validation_from = "unlabeled"

    config.augment = ConfigDict()  # ours
    config.augment.synthetic = True  # of synthetic images too (differentiable augmentation)
    config.augment.crop_padding = 4  # pixels on each side; 0 is no cropping
    config.augment.flip = True  # left to right, with probability 1/2
    config.augment.cutout = 0  # rows and columns of a grey square; 0 is none
    # Least share of the area of a random part that is resized to the whole image; 1 is none.
    config.augment.least_area = 1.0
    config.augment.colour = 0.0  # brightness, contrast and saturation, at most

    config.batch_size = 64  # labeled images per step, over all devices; ours
    # Every n-th labeled image of a batch is the anchor of a triplet. The larger n, the more labeled
    # images per synthetic image the discriminator step sees. Ours.
    config.anchor_every = 1
    config.negatives_per_anchor = 1  # synthetic images of other classes for each anchor; paper: 1
    config.unlabeled_batch_size = 64  # unlabeled images per step, over all devices; ours
    # Stage 1, only the GAN; without a GAN, labeled images alone, before consistency begins. Ours.
    config.pretraining_steps = 10_000
    config.num_steps = 30_000  # stage 2, joint training; ours
    # Whether to train generator and adversary; without them only the hash step is left (a control).
    config.gan = True
    # Positives and negatives. synthetic: the paper's | real: labeled images | none, without a GAN
    config.triplets = "synthetic"

    # Strong views of unlabeled images must get the class of their weak view (FixMatch). Ours.
    config.consistency = ConfigDict()
    # Strong views per step, over all devices; 0 is off. -1 is automatic: three for each labeled
    # image, of all training images; off where images have several labels.
    config.consistency.batch_size = 0
    config.consistency.threshold = 0.95  # least probability of a pseudo-label that is used
    config.consistency.alignment = True  # of the pseudo-labels' classes with those of the labels
    config.consistency.rotate = 30.0  # degrees to either side, at most
    config.consistency.shear = 0.3  # at most
    config.consistency.scale = 0.3  # logarithm of the factor, at most
    config.consistency.shift = 0.15  # share of the image's size, at most
    config.consistency.colour = 0.5  # brightness, contrast and saturation, at most
    config.consistency.grey = 0.1  # probability of losing all colour
    config.consistency.negative = 0.1  # probability of turning into the negative
    config.consistency.cutout = 16  # rows and columns of a grey square; 0 is none

    config.generator = ConfigDict()  # ours
    config.generator.name = "dcgan"  # dcgan | residual, with conditional batch normalisation
    config.generator.width = 64  # channels before the last doubling
    config.generator.z_dim = 100  # length of the noise
    # Pixels per side; -1 is that of the images, with a pretrained network 64 at most. Images of
    # another size than the data's are resized, with gradients.
    config.generator.image_size = -1

    config.adversary = ConfigDict()  # ours
    # Whether "real or synthetic" is asked of image and class together (projection discriminator).
    config.adversary.projection = False

    config.representation = ConfigDict()  # ours: the paper does not say which network
    # conv3 | alexnet | wide_resnet | whitened; or one with pretrained weights, which has none of
    # the next six fields: resnet18 | vit_s16 | ... (docs/pretrained.md)
    config.representation.name = "wide_resnet"
    # Channels of the first block (conv3: 32, alexnet: 64, whitened: 32 on a CPU).
    config.representation.width = 64
    config.representation.depth = 16  # layers, of wide_resnet only
    # Outputs of the dense layers (conv3: 500, alexnet: 4096); -1 takes these, or none.
    config.representation.features = 512
    config.representation.dropout = 0.0  # probability, on the dense layers (conv3: 0.5)
    config.representation.norm = "group"  # none | group
    config.representation.spectral_norm = False  # set it for the hinge loss

    config.pretrained = ConfigDict()  # of a network that has pretrained weights
    # default: published ones, downloaded | hf://OWNER/NAME[/FILE] | safetensors file | empty: none
    config.pretrained.weights = "default"
    config.pretrained.frozen = False  # whether only the streams are trained
    # Whether batch normalisation keeps the running statistics that come with the weights.
    config.pretrained.frozen_batch_norm = True
    config.pretrained.learning_rate_scale = 0.1  # of the network, relative to the streams
    config.pretrained.layer_decay = 1.0  # of the learning rate, from each layer to the one before

    config.hash_stream = ConfigDict()  # ours
    # Standard deviation of the pre-sigmoid outputs over a batch; 0 is a plain dense layer.
    config.hash_stream.sharpness = 4.0

    config.mirrored = False  # codes and class outputs are means over an image and its mirror image
    # If above 0, such means are also over the image moved by so many pixels up and left (a quarter)
    # and down and right (a quarter); encoding takes three times as long.
    config.shifted = 0
    # hash: codes are the hash stream's | graded: from the class probabilities, without training
    config.head = "hash"
    config.graded = ConfigDict()  # of head "graded"; eval.py --baseline graded fits them
    config.graded.temperature = 1.0  # divides the class outputs
    config.graded.middle = -0.5  # of a class's thresholds, as log-odds
    config.graded.step = 1.3  # from one threshold of a class to the next, as log-odds

    config.loss = ConfigDict()
    config.loss.labels = "single"  # single: softmax | multi: sum of sigmoids
    config.loss.unlabeled = "zero"  # class target of unlabeled images; zero: paper | mask: no loss
    # Each loss is a name of dsh_jax.losses, or "module:function" for your own; its keyword options
    # are in the field NAME_options. dsh_jax/losses/slots.py lists the arguments of each.
    config.loss.triplet = "triplet_ranking"
    config.loss.triplet_options = ConfigDict({"margin": 1.0})  # in bits
    # Triplets of the hash step. none: as drawn (paper) | batch: with the farthest positive and the
    # nearest negative of the whole batch.
    config.loss.mining = "none"
    # auto: softmax_classification or sigmoid_classification, depending on `labels`
    config.loss.classification = "auto"
    config.loss.quantization = "quantization"
    # minimax: the paper's form | non_saturating | hinge
    config.loss.adversarial = "minimax"
    config.loss.pair = ""  # over every pair of a triplet batch, as in DPSH; empty is none
    config.loss.batch = ""  # over a whole triplet batch; empty is none
    config.loss.center = ""  # csq | dpn | orthohash: to a fixed code of the class; empty is none
    # Weights of the terms; the paper has the first three, each with weight 1.
    config.loss.weights = ConfigDict(
        {"triplet": 1.0, "adversarial": 1.0, "classification": 1.0, "quantization": 0.0}
    )
    config.loss.weights.pair = 1.0  # used with the optional loss
    config.loss.weights.batch = 1.0  # used with the optional loss
    config.loss.weights.center = 1.0  # used with the optional loss
    config.loss.weights.r1 = 0.0  # of the adversary's squared gradient at real images; 0 is off
    config.loss.weights.consistency = 1.0  # used with consistency
    # Weight of a synthetic image relative to a real one in the classification losses of the
    # discriminator and the hash step; 1: paper, 0: classes are learned from real images only.
    config.loss.synthetic_class_weight = 1.0

    config.optimizer = ConfigDict()
    config.optimizer.discriminator = adam(2e-4)
    config.optimizer.hash = adam(2e-4)
    config.optimizer.generator = adam(2e-4)

    config.ema_decay = 0.999  # of generator and hash network, used by evaluation; 0 is off; ours

    # Encoder file or workdir with class outputs that judges synthetic images at every evaluation;
    # empty is none.
    config.judge = ""
    # Functions of your own of (codes, labels), each "module:function", measured at every validation
    # and by eval.py; see docs/extending.md.
    config.metrics = ()
    # Images per call in validation and evaluation, over all devices of a process; with a pretrained
    # network at most 64.
    config.encode_batch_size = 500
    config.log_every_steps = 50  # steps between lines of metrics
    config.eval_every_steps = 1000  # steps between validations, sample grids and checkpoints
    config.keep_checkpoints = 2  # latest ones to keep, in addition to the best by validation mAP
    # Training saves and ends after so many minutes; the same command goes on. 0 is no limit.
    config.max_minutes = 0.0
    # Whether several processes, on one machine or many, train together (docs/hosts.md).
    config.distributed = False
    # Steps in one call of the devices, a divisor of log_every_steps and eval_every_steps. 0 is
    # automatic: at most 10 on GPU and TPU, 1 on a CPU.
    config.steps_per_call = 0
    # Whether images lie on the devices, so that batches hold their rows alone.
    config.items_on_device = "auto"  # auto: of GPUs and TPUs, up to 4 GB | yes | no
    # Traces ten steps of each stage into the workdir, and tells where their time goes.
    config.profile = False
    return config
