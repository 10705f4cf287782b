"""A frozen network of timm: any CNN or transformer that gives its stages or blocks as grids."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from dept_vl.embedded.packages import packaged
from dept_vl.part import misfits
from dept_vl.registry import DeptVLWarning, did_you_mean
from dept_vl.untrusted.bad_file import listed, reason_of
from dept_vl.untrusted.network_files import read_network_weights
from dept_vl.untrusted.tensor_files import check_finite
from dept_vl.vision.hashes import hash_json
from dept_vl.vision.preprocess import Preprocessing, check_resize, refuse_strip
from dept_vl.vision.tower import FrozenTower, UnloadableTower, without_moving_random

_SHAPING = ("architecture", "input_size", "fixed_input_size")
_NO_NORM = ("Hiera", "HieraDet")  # which refuse to be asked for it


class TimmTower(FrozenTower):
    """A network of timm without its classifier; see `Tower`.

    Layer -1 is the last stage of a CNN or the last block of a transformer; a transformer's patches go through its final
    norm, a CNN's stages are as they come.
    """

    kind = "timm"

    @classmethod
    def load(
        cls,
        name: str,
        weights: Path | str | None = None,
        *,
        layer: int | Sequence[int],
        pooling: str,
        resize: str,
        pool_size: int | None = None,
        joined: str = "width",
        dtype: str = "float32",
        random_weights: bool = False,
    ) -> "TimmTower":
        """Load a network.

        Args:
            name: as timm has it, such as 'efficientnet_lite0' or 'vit_small_patch14_dinov2.lvd142m', 'hf-hub:ORG/REPO'
                or 'local-dir:FOLDER'.
            weights: a file (.safetensors, or .pth with tensors alone), or package:NAME/FILE, in place of timm's own.
                Where its names are others than timm's, its weights are taken in their order if all shapes agree, with a
                warning.
            layer, pooling, pool_size, joined: see `FrozenTower`.
            resize: "squash" or "model", see `Preprocessing`.
            random_weights: build the network untrained (always the same weights) instead of loading any.

        Raises:
            UnloadableTower: no such network, one that gives no grids, weights that do not fit or are not finite.
            BadFile: a file of weights that is damaged or holds other things.
            ValueError: a layer that the network does not have, or a pooling that its grid does not allow.
        """
        check_resize(resize)
        network = _create(name, pretrained=weights is None and not random_weights)
        if weights is not None:
            path = packaged(str(weights)) or Path(weights)
            _fill(network, read_network_weights(path), path)
        if given := check_finite(network.state_dict()):
            raise UnloadableTower(f"{name}: wanted finite weights, given {given}: download the model again")
        shaping = {field: network.pretrained_cfg.get(field) for field in _SHAPING}
        source = {
            "vision_model_name": name,
            "vision_pretrained": None,
            "vision_config_sha256": hash_json(shaping),
        }
        if weights is not None:
            source["vision_weights_file"] = str(weights)
        preprocess = TimmPreprocess(network, resize)
        network.reset_classifier(0)
        reading = {"layer": layer, "pooling": pooling, "pool_size": pool_size, "joined": joined, "dtype": dtype}
        return cls(network, preprocess, source=source, **reading)

    @property
    def normalized(self) -> bool:
        return type(self.tower).__name__ not in _NO_NORM

    def maps(
        self, pixels: Float[Tensor, "batch channels rows columns"], layers: list[int] | None
    ) -> list[Float[Tensor, "batch _width _rows _columns"]]:
        return self.tower.forward_intermediates(
            pixels, indices=layers, norm=self.normalized, output_fmt="NCHW", intermediates_only=True, stop_early=False
        )


class TimmPreprocess(Preprocessing):
    """The transform that timm makes of a network's own settings; "squash" resizes both sides and cuts nothing off."""

    def __init__(self, network: nn.Module, resize: str) -> None:
        from timm.data import create_transform, resolve_model_data_config

        own = resolve_model_data_config(network)
        squash = resize == "squash"
        self.size = tuple(own["input_size"][1:])
        self.settings = {
            "input_size": list(own["input_size"]),
            "mean": list(own["mean"]),
            "std": list(own["std"]),
            "interpolation": own["interpolation"],
            "crop_pct": 1.0 if squash else own["crop_pct"],
            "resize_mode": "squash" if squash else own["crop_mode"],
        }
        settings = {name: value for name, value in self.settings.items() if name != "resize_mode"}
        self._transform = create_transform(**settings, crop_mode=self.settings["resize_mode"], is_training=False)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 rows columns"]:
        """Raises ValueError for a strip so thin that resizing its shorter side would fill the memory."""
        if self.settings["resize_mode"] == "center":
            refuse_strip(image, self.size)
        return self._transform(image)


def _create(name: str, *, pretrained: bool) -> nn.Module:
    import timm

    if not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")) and not timm.is_model(name):
        hint = did_you_mean(name.partition(".")[0], timm.list_models())
        raise UnloadableTower(f"{name!r} is no network of timm: wanted a name of timm.list_models().{hint}")
    try:
        network = without_moving_random(lambda: timm.create_model(name, pretrained=pretrained))
    except Exception as error:  # files, network and state dicts fail in many ways, all for the caller to see
        reason = reason_of(error)
        raise UnloadableTower(
            f"{name}: wanted a network of timm whose weights the hub or the local cache has, or vision.weights with a "
            f"file of them, given one where loading failed with: {reason}"
        ) from error
    if not callable(getattr(network, "forward_intermediates", None)):
        raise UnloadableTower(f"{name}: wanted a network with forward_intermediates, given {type(network).__name__}")
    return network


def _fill(network: nn.Module, given: Mapping[str, Tensor], path: Path) -> None:
    """Load a file's weights by their names, without the classifier's; or in their order where the names are others.

    Raises: UnloadableTower.
    """
    own = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    head = {
        f"{name}.{weight}"
        for name, module in network.named_modules()
        if module is network.get_classifier()
        for weight, _ in module.named_parameters()
    }
    body = {name: value for name, value in own.items() if name not in head}
    if set(body) & set(given):
        state = {name: value for name, value in given.items() if name not in head}
        if wrong := misfits(body, state):
            raise UnloadableTower(
                f"{path}: wanted the weights of this network, given {listed(wrong, show=3)} that differ"
            )
    elif path.suffix != ".safetensors" and _shapes(own) == _shapes(given):  # safetensors keeps no order
        state = dict(zip(own, given.values(), strict=True))
        message = f"{path}: none of its {len(state)} names is timm's, but all shapes agree: taken in their order"
        warnings.warn(message, DeptVLWarning, stacklevel=4)
    else:
        raise UnloadableTower(
            f"{path}: wanted {len(own)} weights named as timm's ({listed(own, show=2)}) or, in a .pth, of their "
            f"shapes in their order, given {listed(given, show=2)}"
        )
    network.load_state_dict(state, strict=False)


def _shapes(weights: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in weights.values()]
