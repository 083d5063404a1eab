"""Draws the columns of a table of losses (step,NAME,NAME...) as curves: draw_losses.py CSV SVG [TITLE]"""
import csv
import sys

COLOURS = ["#4269d0", "#ef8a17", "#3ca951", "#a463f2"]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 56, 34, 16, 40


def main(source, target, title="loss"):
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "step"]
    steps = [int(row["step"]) for row in rows]
    curves = {name: [float(row[name]) for row in rows] for name in names}
    low = min(min(values) for values in curves.values())
    high = max(max(values) for values in curves.values())
    low, high = low - 0.05 * (high - low), high + 0.02 * (high - low)
    x = lambda step: LEFT + (step - steps[0]) / max(1, steps[-1] - steps[0]) * (WIDTH - LEFT - RIGHT)
    y = lambda value: TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/><text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for i in range(6):
        value, step = low + (high - low) * i / 5, steps[0] + (steps[-1] - steps[0]) * i / 5
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
                   f'<text x="{x(step):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{step:.0f}</text>')
    for i, (name, values) in enumerate(curves.items()):
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(steps, values))
        dash = ' stroke-dasharray="5 3"' if i else ""
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[i % 4]}" stroke-width="1.6"{dash}/>'
                   f'<text x="{WIDTH - RIGHT - 90}" y="{TOP + 16 + 16 * i}" fill="{COLOURS[i % 4]}">{name}</text>')
    out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text></svg>')
    with open(target, "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
