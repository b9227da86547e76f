"""Draw the pictures of the documentation: python docs/pictures/draw.py writes them next to itself.

They are narrow, so that they can be read on a phone, and consist of boxes, arrows and texts.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
WIDTH = 560
BLUE, GREEN, RED, GREY, INK = '#dbe9fb', '#d9f2df', '#fbdedb', '#eef0f2', '#1c2733'
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>{title}</title>
<style>
text {{ font: 15px system-ui, sans-serif; fill: #1c2733 }}
.small {{ font-size: 13px; fill: #4a5866 }}
.bold {{ font-weight: 600 }}
.code {{ font: 13px ui-monospace, monospace; fill: #4a5866 }}
.red {{ fill: #b3261e }}
.green {{ fill: #1b6e34 }}
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
 orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#4a5866"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
"""


class Picture:
    """An SVG picture to which boxes, arrows and texts are added."""

    def __init__(self, title: str, height: int, width: int = WIDTH) -> None:
        self._parts = [HEAD.format(width=width, height=height, title=escape(title))]

    def text(self, x: float, y: float, text: str, kind: str = '', anchor: str = 'middle') -> None:
        """A line of text, centred on x unless anchored otherwise."""
        self._parts.append(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, lines: list[str], fill: str = BLUE
    ) -> None:
        """A box with a bold line and smaller ones below it."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" '
            f'stroke="{INK}" stroke-opacity=".35"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * number, line, 'small' if number else 'bold')

    def bar(self, x: float, y: float, width: float, fill: str, height: float = 16) -> None:
        """A bar of a time line."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{fill}" '
            f'stroke="{INK}" stroke-opacity=".35"/>'
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False, tip: bool = True) -> None:
        """A line through points, with a tip at its end."""
        path = 'M' + 'L'.join(f'{x} {y}' for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ''
        end = ' marker-end="url(#tip)"' if tip else ''
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="#4a5866" stroke-width="1.6"{dash}{end}/>'
        )

    def save(self, name: str) -> None:
        """Write the picture next to this file."""
        (HERE / f'{name}.svg').write_text('\n'.join([*self._parts, '</svg>\n']))


def way_of_a_call() -> None:
    """Draw the steps from the line in a program to the socket and back."""
    steps = [
        ("pool.getk('user:42')", 'your code', GREY),
        ("key → 'user:42'", 'set_hash, or the arguments', BLUE),
        ('server-3', 'the routing: key → server', BLUE),
        ('request bytes', "encoded by gen-py's own classes, in memory", BLUE),
        ('a connection', 'an idle one, or a new one', BLUE),
        ('send', 'until the last byte: the server cannot have run it', GREEN),
        ('receive', 'from here on it may have run', RED),
        ('check', 'sequence id, method name, type, exactly one message', BLUE),
        ('ThriftResponse', 'the value, or the exception', GREY),
    ]
    picture = Picture('The path of a call through a hash pool', 24 + 74 * len(steps), 412)
    for number, (title, text, fill) in enumerate(steps):
        y = 16 + 74 * number
        picture.box(16, y, 380, 50, [title, text], fill)
        if number:
            picture.arrow((206, y - 24), (206, y - 2))
    picture.save('way-of-a-call')


def life_of_a_connection() -> None:
    """Draw the states of a connection and the transitions between them."""
    picture = Picture('The life of a connection', 500)
    picture.box(180, 16, 200, 56, ['opening', 'name, TCP, TLS, SASL'], GREY)
    picture.box(180, 150, 200, 56, ['in use', 'one call, one thread'])
    picture.box(180, 290, 200, 56, ['idle', 'kept for the next call'], GREEN)
    picture.box(180, 424, 200, 56, ['closed', 'never reopened'], RED)
    picture.arrow((280, 72), (280, 148))
    picture.text(290, 116, 'open: the call is sent on it', 'small', 'start')
    picture.arrow((230, 206), (230, 288))
    picture.text(222, 240, 'exactly one whole', 'small', 'end')
    picture.text(222, 258, 'reply to the call', 'small', 'end')
    picture.arrow((330, 290), (330, 208))
    picture.text(338, 240, 'the next call; after a', 'small', 'start')
    picture.text(338, 258, 'pause it is checked', 'small', 'start')
    picture.arrow((280, 346), (280, 422))
    picture.text(290, 380, 'too old, too many, or', 'small', 'start')
    picture.text(290, 398, 'the server closed it', 'small', 'start')
    picture.arrow((180, 178), (40, 178), (40, 452), (178, 452))
    picture.text(48, 330, 'anything else:', 'small red', 'start')
    picture.text(48, 348, 'timeout, error,', 'small red', 'start')
    picture.text(48, 366, 'Ctrl-C, wrong reply', 'small red', 'start')
    picture.arrow((380, 44), (520, 44), (520, 452), (382, 452))
    picture.text(512, 178, 'refused', 'small red', 'end')
    picture.save('life-of-a-connection')


def mixed_up_replies() -> None:
    """Draw what happens when a connection is used again after a timeout."""
    picture = Picture('How a reply reaches the wrong call', 440)
    left, right = 150, 410
    picture.text(left, 26, 'bare generated client', 'bold')
    picture.text(right, 26, 'server', 'bold')
    for x in (left, right):
        picture.arrow((x, 38), (x, 424), tip=False)
    picture.arrow((left, 66), (right - 3, 86))
    picture.text(280, 64, "getk('a')", 'code')
    picture.text(right + 10, 130, 'slow…', 'small', 'start')
    picture.text(left - 10, 166, 'timeout', 'small red', 'end')
    picture.text(left - 10, 184, 'continues', 'small', 'end')
    picture.arrow((right, 196), (left + 3, 216), dashed=True)
    picture.text(280, 194, "reply: value of 'a'", 'code')
    picture.text(left - 10, 226, 'not read', 'small', 'end')
    picture.arrow((left, 262), (right - 3, 282))
    picture.text(280, 260, "getk('b')", 'code')
    picture.text(left - 10, 302, "reads: 'a'!", 'small red bold', 'end')
    picture.text(left - 10, 320, 'no error', 'small', 'end')
    picture.arrow((right, 318), (left + 3, 338), dashed=True)
    picture.text(280, 316, "reply: value of 'b'", 'code')
    picture.text(left - 10, 372, 'every reply from', 'small', 'end')
    picture.text(left - 10, 390, 'now on is one late', 'small', 'end')
    picture.save('mixed-up-replies')


def when_to_retry() -> None:
    """Draw the questions that decide on a retry."""
    picture = Picture('When a failed call is retried', 500)
    picture.box(160, 16, 240, 44, ['an attempt failed'], GREY)
    questions = [
        ('did the server answer?', 'yes: not retried'),
        ('is it certain to fail again?', 'yes: not retried'),
        ('may the server have run it?', ''),
    ]
    for number, (question, answer) in enumerate(questions):
        y = 96 + 90 * number
        picture.box(130, y, 300, 44, [question])
        picture.arrow((280, y - (46 if number else 36)), (280, y - 2))
        if answer:
            picture.text(440, y + 27, answer, 'small red', 'start')
            picture.text(290, y + 70, 'no', 'small', 'start')
    picture.arrow((200, 320), (140, 372))
    picture.text(158, 346, 'no', 'small', 'end')
    picture.arrow((360, 320), (420, 372))
    picture.text(402, 346, 'yes', 'small', 'start')
    picture.box(300, 374, 244, 44, ['is the method idempotent?'])
    enough = ['if attempts, retry budget', 'and time are left']
    picture.box(16, 374, 244, 110, ['retried', *enough], GREEN)
    picture.arrow((300, 396), (262, 396))
    picture.text(281, 388, 'yes', 'small')
    picture.arrow((422, 418), (422, 452))
    picture.text(432, 440, 'no', 'small', 'start')
    picture.text(422, 474, 'not retried: maybe_executed', 'small red')
    picture.save('when-to-retry')


def fan_out() -> None:
    """Draw how long a call to five servers takes, in three ways."""
    picture = Picture('What a call to five servers costs', 404)
    ways = [
        ('one after the other', [(0, 60), (60, 60), (120, 60), (180, 60), (240, 60)], 0),
        ('a thread for each', [(50, 60), (62, 60), (74, 60), (86, 60), (98, 60)], 50),
        ('written first, then read', [(6, 60), (9, 60), (12, 60), (15, 60), (18, 60)], 6),
    ]
    for row, (title, bars, before) in enumerate(ways):
        top = 24 + 128 * row
        picture.text(20, top, title, 'bold', 'start')
        for number, (start, length) in enumerate(bars):
            y = top + 12 + 17 * number
            if before:
                picture.bar(150, y, start, RED, 13)
            picture.bar(150 + start, y, length, GREEN, 13)
    picture.bar(20, 386, 16, RED, 12)
    picture.text(42, 396, 'work of the client', 'small', 'start')
    picture.bar(200, 386, 16, GREEN, 12)
    picture.text(222, 396, 'the server works', 'small', 'start')
    picture.text(540, 396, 'time →', 'small', 'end')
    picture.save('fan-out')


if __name__ == '__main__':
    way_of_a_call()
    life_of_a_connection()
    mixed_up_replies()
    when_to_retry()
    fan_out()
