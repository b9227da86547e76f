"""Draw the figures of a run as SVG, for the docs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.table import Figure

# Blue for this library, grey for the floor; the markers differ, for readers who see no colours.
STYLES = {
    'bare socket': ('#9a9a9a', 's'),
    'bare socket with a timeout': ('#c4c4c4', 's'),
    'bare sockets': ('#9a9a9a', 's'),
    'generated client': ('#c0722f', '^'),
    'thriftpy2': ('#8a6bb1', 'v'),
    'SimpleClient': ('#1f6fb4', 'o'),
    'HashClient': ('#5fa3d9', 'D'),
    'pool.all': ('#1f6fb4', 'o'),
    'ReplicatedClient': ('#5fa3d9', 'D'),
    'ThreadPoolExecutor': ('#c0722f', '^'),
    'thread per call': ('#a83c3c', 'x'),
}


def draw(figures: Sequence[Figure], folder: Path) -> None:
    """Write the plots to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    # Without these, an SVG differs each time by its date and by random ids.
    mpl.rcParams.update({'svg.hashsalt': 'thrift_client', 'svg.fonttype': 'none'})
    for name, plot in (('call', _calls), ('fanout', _fan_out), ('size', _sizes)):
        canvas, axes = plt.subplots(figsize=(8, 4.5), layout='constrained')
        plot(axes, figures)
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(visible=True, axis='y', alpha=0.3)
        canvas.savefig(folder / f'{name}.svg', metadata={'Date': None})
        plt.close(canvas)


def _names(figures: Sequence[Figure]) -> list[str]:
    """Return the contestants, in the order of STYLES."""
    there = {figure.contestant for figure in figures}
    return [name for name in STYLES if name in there]


def _calls(axes: Axes, figures: Sequence[Figure]) -> None:
    """Draw a bar for each contestant of a small call."""
    chosen = [
        figure
        for figure in figures
        if figure.case.startswith('small call') and figure.placement == 'one processor'
    ]
    cases = list(dict.fromkeys(figure.case for figure in chosen))
    names = _names(chosen)
    width = 0.8 / max(1, len(names))
    for index, name in enumerate(names):
        mine = [figure for figure in chosen if figure.contestant == name]
        places = [cases.index(figure.case) + (index - (len(names) - 1) / 2) * width
                  for figure in mine]
        medians = [figure.cpu.median * 1e6 for figure in mine]
        below = [(figure.cpu.median - figure.cpu.low) * 1e6 for figure in mine]
        above = [(figure.cpu.high - figure.cpu.median) * 1e6 for figure in mine]
        axes.bar(places, medians, width * 0.9, label=name, color=STYLES[name][0],
                 yerr=[below, above], error_kw={'elinewidth': 0.8, 'ecolor': '#444444'})
    axes.set_xticks(range(len(cases)), [case.removeprefix('small call, ') for case in cases])
    axes.set_ylabel('CPU of the client, µs a call')
    axes.set_title('A small call, client and server on one processor')
    axes.legend(frameon=False, ncols=5, loc='upper center', bbox_to_anchor=(0.5, -0.08))


def _curves(axes: Axes, figures: Sequence[Figure], points: Sequence[float]) -> None:
    """Draw a curve of wall time for each contestant, over the points of its figures."""
    for name in _names(figures):
        pairs = zip(points, figures, strict=True)
        mine = [(point, figure) for point, figure in pairs if figure.contestant == name]
        across = [point for point, _ in mine]
        colour, marker = STYLES[name]
        medians = [figure.wall.median * 1e3 for _, figure in mine]
        axes.plot(across, medians, label=name, color=colour, marker=marker, markersize=5)
        axes.fill_between(across, [figure.wall.low * 1e3 for _, figure in mine],
                          [figure.wall.high * 1e3 for _, figure in mine], color=colour, alpha=0.15)
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_ylabel('wall time of a call, ms')


def _fan_out(axes: Axes, figures: Sequence[Figure]) -> None:
    """Draw the time of a fan-out over the number of servers."""
    start, end = 'all over ', ' servers'
    chosen = [
        figure
        for figure in figures
        if figure.case.startswith(start) and figure.case.endswith(end)
    ]
    counts = [int(figure.case.removeprefix(start).removesuffix(end)) for figure in chosen]
    _curves(axes, chosen, counts)
    axes.set_xticks(sorted(set(counts)), map(str, sorted(set(counts))))
    axes.minorticks_off()
    axes.set_xlabel('servers')
    axes.set_title('One call to many servers')
    axes.legend(frameon=False)


def _sizes(axes: Axes, figures: Sequence[Figure]) -> None:
    """Draw the time of a call over the size of its reply, framed."""
    start, end = 'reply of ', ' bytes, binary, framed'
    chosen = [
        figure
        for figure in figures
        if figure.case.startswith(start) and figure.case.endswith(end)
    ]
    sizes = [int(figure.case.removeprefix(start).removesuffix(end)) for figure in chosen]
    _curves(axes, chosen, sizes)
    axes.set_xlabel('bytes of the reply')
    axes.set_title('Replies of 100 bytes to 15 MB, framed')
    axes.legend(frameon=False)
