"""How costs are printed: parts, totals, verdicts, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nas_budget.arch.budget import FORMATS, Budget, Margin, Verdict
from nas_budget.arch.cost import Cost, cost
from nas_budget.arch.latency import milliseconds
from nas_budget.arch.layers import layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console.output import field, log, out, out_json, show, table, verdict_line
from nas_budget.errors import UsageError

if TYPE_CHECKING:
    from nas_budget.arch.explain import Explanation
    from nas_budget.train.profile.benchmark import Measurement, Quartiles
    from nas_budget.train.profile.count_module import ModuleCost

UNCOUNTED = len("not counted  ")
WORDS = {"channels": "width", "blocks": "blocks", "kernels": "kernel", "expansions": "expansion"}


def print_costs(
    spec: ResNetSpec, limits: Budget, explained: bool, show_layers: bool, as_json: bool,
    measure: Callable[[ResNetSpec], Measurement] | None = None, log: Callable[[str], None] = log,
) -> bool:  # fmt: skip
    """Print what a network costs, and what `measure` finds where it is given; whether the network fits."""
    used = cost(spec)
    verdict = limits.check(used)
    explanation = None
    if explained:
        from nas_budget.arch.explain import explain

        explanation = explain(spec, limits)
    if as_json:
        more = {**latency_json(used, limits), **(explanation.to_dict() if explanation else {})}
        if measure:
            more["measured"] = asdict(measure(spec))
        out_json({"spec": spec.to_dict(), **used.to_dict(), **verdict.to_dict(), **more})
        return verdict.fits
    if show_layers:
        _print_layers(spec)
    print_parts(used, limits)
    if explanation:
        _print_explanation(spec, used, limits, explanation)
    else:
        _print_weights(used)
        _print_activations(used)
        out(f"depth        {used.depth}")
        if limits.latency_model:
            source = limits.latency_model.source
            out(f"latency      {_predicted_ms(used, limits)} ms for one image, predicted from {source}")
    if measure:
        log("\nmeasuring, for about ten seconds ...")
        _print_measured(measure(spec))
    print_verdict(verdict)
    return verdict.fits


def compare(specs: Sequence[ResNetSpec], budgets: Sequence[Budget], as_json: bool) -> bool:
    """Print several networks, each with its budget, in one table; whether all fit."""
    counted = [(spec, used := cost(spec), own.check(used), own) for spec, own in zip(specs, budgets, strict=True)]
    fit = all(verdict.fits for *_, verdict, _ in counted)
    if as_json:
        out_json(
            [
                {"spec": s.to_dict(), **used.to_dict(), **verdict.to_dict(), **latency_json(used, own)}
                for s, used, verdict, own in counted
            ]
        )
        return fit
    # A column has one format: that of all limits, or the usual one where they differ.
    weights, activations = (
        formats.pop() if len(formats := {getattr(own, name) for own in budgets}) == 1 else "fp32" for name in FORMATS
    )
    timed = any(own.latency_model for own in budgets)
    shown = Budget(weight_format=weights, activation_format=activations)
    rows = [
        (str(i), f"{used.params:,}", f"{used.macs:,}", f"{used.weight_bytes[weights]:,}",
         f"{shown.activation_bytes_of(used.activation_bytes or 0):,}", str(used.depth),
         *([_predicted_ms(used, own)] if timed else []),
         "fits" if verdict.fits else "OVER")
        for i, (_, used, verdict, own) in enumerate(counted, start=1)
    ]  # fmt: skip
    show(
        table(
            (
                "",
                "params",
                "MACs",
                f"{weights} B",
                "activ. B" if activations == "fp32" else f"{activations} activ. B",
                "depth",
                *(["ms"] if timed else []),
                "budget",
            ),
            rows,
            left=(0, 7 if timed else 6),
        )
    )
    out("")
    for i, (spec, _, verdict, _) in enumerate(counted, start=1):
        margins = ", ".join(map(_margin_in_words, verdict.margins))
        verdict_line(verdict.fits, f"{i}  {spec}" + (f": {margins}" if margins else ""))
    return fit


def print_module_cost(target: str, inputs: Sequence[str], dtypes: Sequence[str], limits: Budget, as_json: bool) -> bool:
    """Print what a torch module costs; whether it fits.

    Args:
        target: The module, as `count_module` takes it.
        inputs: Shapes such as "3,32,32" or "tokens=128"; an image of 32 pixels where none is given.
        dtypes: Number formats: none, one for all inputs, or one for each.
        limits: The budget.
        as_json: Print JSON.
    """
    given = [_read_input(text) for text in inputs or ["3,32,32"]]
    formats = [*dtypes] * len(given) if len(dtypes) == 1 else [*dtypes] or [""] * len(given)
    if len(formats) != len(given):
        raise UsageError(f"--input-dtype: {len(formats)} for {len(given)} inputs; give one for all, or one for each")
    from nas_budget.train.profile.count_module import ModuleInput, count_module

    tensors = (ModuleInput(shape, dtype, name) for (name, shape), dtype in zip(given, formats, strict=True))
    if limits.activation_bytes is not None:
        raise UsageError("--max-activation-bytes: not counted for --module; leave it out")
    if limits.latency_ns is not None or limits.latency_model:
        raise UsageError("--max-latency: not predicted for --module; leave it out, and --latency-table too")
    used = count_module(target, *tensors)
    verdict = used.check(limits)
    if as_json:
        out_json({**used.to_dict(), **verdict.to_dict()})
        return verdict.fits
    print_parts(used, limits)
    _print_weights(used)
    if used.integer_bytes:
        out(f"integers     {used.integer_bytes:,} B of whole numbers, as they are stored (in the weights' bytes)")
    if used.frozen:
        out(f"frozen       {used.frozen:,} parameters, which no training changes (in the weights' bytes)")
        out(f"all          {used.params + used.frozen:,} parameters: {used.params:,} trainable, {used.frozen:,} frozen")
    _print_uncounted(used)
    print_verdict(verdict)
    return verdict.fits


def _print_uncounted(used: ModuleCost) -> None:
    """The operations that no rule counts, by name, with the parts that call them."""
    label = "not counted"
    for name in dict.fromkeys(one.name for one in used.uncounted):
        calls = {one.part: one.calls for one in used.uncounted if one.name == name}
        n = sum(calls.values())
        field(label, f"{name}: {n} {'call' if n == 1 else 'calls'} in {', '.join(calls)}", UNCOUNTED)
        label = ""
    if not label:
        field(label, "so the MACs are a lower bound", UNCOUNTED)


def _read_input(text: str) -> tuple[str, tuple[int, ...]]:
    """Name and shape of an input such as "3,32,32", "tokens=128" or "step=scalar"; the name may be empty."""
    *name, sizes = text.split("=", 1)
    try:
        return "".join(name), () if sizes == "scalar" else tuple(int(size) for size in sizes.split(","))
    except ValueError:
        raise UsageError(f"--input: cannot read {text!r}; write sizes such as 3,32,32, or name=3,32,32") from None


def print_parts(used: Cost | ModuleCost, limits: Budget) -> None:
    """Print what each part of a network or module costs, and its share of the budget."""
    whole, title = (limits.params, "of budget") if limits.params else (max(1, used.params), "of params")
    kinds = [kind for part in used.parts if (kind := getattr(part, "kind", ""))]
    columns = {
        "part": [*(part.name for part in used.parts), "total"],
        **({"kind": [*kinds, ""]} if kinds else {}),
        "output": [*("x".join(map(str, part.out_shape)) for part in used.parts), ""],
        "params": [f"{one.params:,}" for one in (*used.parts, used)],
        "MACs": [f"{one.macs:,}" for one in (*used.parts, used)],
        **_latency_column(used, limits),
        title: [f"{one.params / whole:.1%}" for one in (*used.parts, used)],
    }
    show(table([*columns], zip(*columns.values(), strict=True), left=range(len(columns) - 3), total=True))


def _latency_column(used: Cost | ModuleCost, limits: Budget) -> dict[str, list[str]]:
    """Milliseconds of each part and of all, where they are predicted."""
    model = limits.latency_model
    if not model or not isinstance(used, Cost):
        return {}
    times = [model.network_ns(part.timed) for part in used.parts]
    return {"ms": [f"{ns / 1e6:.3f}" for ns in (*times, sum(times))]}


def _predicted_ms(used: Cost, limits: Budget) -> str:
    return milliseconds(limits.latency_model.network_ns(used.timed)) if limits.latency_model else ""


def latency_json(used: Cost, limits: Budget) -> dict[str, Any]:
    """Nanoseconds of the network and of each part, where they are predicted."""
    model = limits.latency_model
    if not model:
        return {}
    parts = {part.name: model.network_ns(part.timed) for part in used.parts}
    return {"latency_ns": sum(parts.values()), "latency_ns_by_part": parts, "latency_source": model.source}


def _print_weights(used: Cost | ModuleCost) -> None:
    sizes = ", ".join(f"{size:,} B {name}" for name, size in used.weight_bytes.items())
    out(f"\nweights      {sizes}")
    out(f"buffers      {used.buffers:,} (in the weights' bytes, not in the parameters)")


def _print_activations(used: Cost) -> None:
    sizes = (f"{size:,} B {name}" for name, size in (used.activations_by_format or {}).items())
    out(f"activations  {', '.join(sizes)} at the peak")


def _print_measured(found: Measurement) -> None:
    """Speed and memory: medians, in brackets the middle half of the repeats."""
    memory = found.inference_bytes, found.training_bytes
    sizes = ["not measured" if size is None else f"{size / 1e6:,.0f} MB" for size in memory]
    out(f"\nmeasured     {found.device}, {found.precision}; {found.versions}")
    out(f"latency      {_spread(found.latency_ms, 2, 'ms for one image')}")
    out(f"inference    {_spread(found.inference, 0, f'images/s in batches of {found.inference_batch}')}")
    out(f"training     {_spread(found.training, 0, f'images/s in batches of {found.training_batch}')}")
    out(f"memory       {sizes[0]} for one image, {sizes[1]} to train in batches of {found.training_batch}")
    out(f"             ({found.memory})")


def _spread(q: Quartiles, digits: int, unit: str) -> str:
    return f"{q.median:,.{digits}f} {unit} ({q.low:,.{digits}f} to {q.high:,.{digits}f}, n = {q.n})"


def _print_explanation(spec: ResNetSpec, used: Cost, limits: Budget, explanation: Explanation) -> None:
    """Where everything goes, and what a little more of each number costs."""
    stages = used.parts[1:-1]
    heaviest, busiest = max(stages, key=lambda p: p.params), max(stages, key=lambda p: p.macs)
    out("")
    for part, what in (heaviest, "parameters"), (busiest, "MACs"):
        shares = f"{part.params / used.params:.0%} of the parameters, {part.macs / used.macs:.0%} of the MACs"
        out(f"most {what} are in {part.name}: {shares}")
    if explanation.shortcut_params > 0:
        k, saved = spec.shortcut_kernel, explanation.shortcut_params
        out(f"{k}x{k} shortcuts spend {saved:,} parameters ({saved / used.params:.1%}) more than 1x1 ones would")
    out("\none more of each, all else as it is:")
    has_ms = limits.latency_model is not None
    rows = [
        (f"stage {c.stage} {WORDS[c.name]}", f"{c.value} -> {c.next}", f"{c.params:+,}", f"{c.macs:+,}",
         *([f"{(c.latency_ns or 0) / 1e6:+.3f}"] if has_ms else []),
         "yes" if c.fits else "no", str(c.largest or "none"))
        for c in explanation.changes
    ]  # fmt: skip
    columns = ("change", "", "params", "MACs", *(["ms"] if has_ms else []), "fits", "largest")
    show(table(columns, rows, left=(0, 1)))
    out(f"\nlargest: the most that keeps {limits}, all else as it is")


def print_verdict(verdict: Verdict, before: str = "") -> None:
    """Print a line for each limit, with something before it: kept or not, and by how much."""
    for m in verdict.margins:
        fits = "fits" if m.margin >= 0 else "OVER BUDGET"
        text = f"{before}{fits}: {m.number(m.used)} of {m.number(m.limit)} {m.words}, {_margin_in_words(m)}"
        verdict_line(m.margin >= 0, text)


def _margin_in_words(m: Margin) -> str:
    return f"{m.number(abs(m.margin))} {'to spare' if m.margin >= 0 else 'too many'}"


def _print_layers(spec: ResNetSpec) -> None:
    hidden = ("activation", "add", "dropout", "mean", "sigmoid", "scale")
    rows = [
        (x.name, x.kind, "x".join(map(str, x.out_shape)), str(x.kernel or ""), f"{x.params:,}", f"{x.macs:,}")
        for x in layers(spec)
        if x.kind not in hidden
    ]
    show(table(("layer", "kind", "output", "kernel", "params", "MACs"), rows, left=(0, 1, 2)))
    from nas_budget.train.engine.model import summarize

    out("\n" + summarize(spec))
