"""Show the curves of a range test: as lines of text, and as a picture."""

import io
from collections.abc import Iterator

import matplotlib
from matplotlib.figure import Figure

from dept_vl.run.charts import COLOURS, DASHES, STYLE
from dept_vl.run.rates import DIVERGED, LEAST_FALL, Curve, Proposal

_ROWS, _BAR = 20, 40  # lines of a curve, signs of the longest bar


def text_of(proposal: Proposal) -> Iterator[str]:
    """Each group's curve and what it says, then the proposal as flags and as YAML."""
    for name, curve in proposal.curves.items():
        yield f"{name}: rate, smoothed loss (nats a target token; {curve.start:.4g} untrained)"
        yield from _bars(curve)
        yield f"{name}: {_verdict(name, curve, proposal)}\n"
    yield f"root mean square of the embedding table: {proposal.rms:.3g}\n"
    yield f"{proposal.flags()}\n"
    yield proposal.yaml().rstrip()


def _bars(curve: Curve) -> Iterator[str]:
    places = range(0, len(curve.rates), -(-len(curve.rates) // _ROWS))
    most = max(curve.losses)
    for place in places:
        loss = curve.losses[place]
        bar = "#" * max(0, round(_BAR * loss / most)) if most > 0 else ""
        yield f"  {curve.rates[place]:9.2e} {loss:9.4f} {bar}"


def _verdict(name: str, curve: Curve, proposal: Proposal) -> str:
    end = f"above the start's by {DIVERGED:.0%} at {curve.diverged:.2g}" if curve.diverged else "never far above it"
    found = f"the loss falls fastest at {curve.steepest:.2g}, is lowest at {curve.lowest:.2g}, {end}"
    configured = proposal.configured[name]
    if curve.proposed is None:
        return f"no proposal, no rate lowered the loss by {LEAST_FALL:.0%} ({found}); configured {configured:g} stays"
    return f"proposed {proposal.rates[name]:g}: {found}; configured {configured:g}"


def picture_of(proposal: Proposal, form: str) -> bytes:
    """The curves of all groups, each with a mark at its proposal, over a log axis of rates. form: svg or png."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=150)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("smoothed loss, nats a target token")
        for number, (name, curve) in enumerate(proposal.curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            label = f"{name}: " + ("no proposal" if curve.proposed is None else f"{proposal.rates[name]:g}")
            axes.plot(curve.rates, curve.losses, color=colour, linestyle=DASHES[number % len(DASHES)], label=label)
            if curve.proposed is not None:
                axes.axvline(curve.proposed, color=colour, linestyle=":")
        axes.legend(fontsize=8)
        file = io.BytesIO()
        figure.savefig(file, format=form, metadata={"Date": None, "Creator": None} if form == "svg" else None)
    return file.getvalue()
