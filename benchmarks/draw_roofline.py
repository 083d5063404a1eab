"""Draws what `fathom bench ops --device cuda --json > OPS.json` measured: draw_roofline.py OPS.json SVG

Left: every operator that multiplies, its FLOP a byte that must move against the FLOP/s it reached, under the limits of the same run (copy, bf16 product;
dashed: LibTorch's FP8 product, where it was measured). Right: operators that only move bytes, as the share of the copy that their largest shape reached."""
import json
import math
import sys
from xml.sax.saxutils import escape

COLOURS = ["#4269d0", "#ef8a17", "#3ca951", "#a463f2", "#9c6b4e", "#e0457b", "#6cc5b0", "#97bbf5", "#8a8a00", "#555"]
FAMILIES = [("linear_rows", "linear_rows"), ("grouped_linear", "grouped_linear"), ("mla_paged_attention", "MLA decode"), ("paged_attention", "GQA decode"),
            ("packed_attention", "packed attention"), ("fp8_linear_rows", "FP8, few rows"), ("fp8_grouped_rows", "FP8, few rows"), ("bf16", "bf16 experts"),
            ("fp8", "FP8 experts"), ("FP8", "MLA decode, FP8 cache")]
LEFT, TOP, WIDTH, HEIGHT = 64, 40, 600, 400
BARS_LEFT, BARS_WIDTH = 910, 260


def family_of(name):
    return next((label for prefix, label in FAMILIES if name == prefix), None)


def text(x, y, content, anchor="start", size=11, colour="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(content)}</text>'


def roofline(ops, copy, product, fp8):
    points = [(op["flop"] / op["bytes"], op["flop"] / op["us"] * 1e6, family_of(op["name"])) for op in ops if op["flop"] > 0 and op["bytes"] > 0 and op["us"] > 0]
    points = [point for point in points if point[2]]
    low_x, high_x = 0.5, 2.0 ** math.ceil(math.log2(max(point[0] for point in points) * 1.2))
    low_y, high_y = 1e11, 2e15
    x = lambda v: LEFT + math.log(v / low_x) / math.log(high_x / low_x) * WIDTH
    y = lambda v: TOP + math.log(high_y / v) / math.log(high_y / low_y) * HEIGHT
    out = [text(LEFT, 22, "FLOP/s reached against FLOP a byte that must move", size=13)]
    for power in range(11, 16):
        value = 10.0 ** power
        out += [f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e4e4"/>',
                text(LEFT - 6, y(value) + 4, {11: "0.1", 12: "1", 13: "10", 14: "100", 15: "1000"}[power], "end")]
    value = 1.0
    while value <= high_x:
        out += [f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{TOP}" y2="{TOP + HEIGHT}" stroke="#f0f0f0"/>', text(x(value), TOP + HEIGHT + 16, f"{value:g}", "middle")]
        value *= 4
    out += [text(LEFT + WIDTH / 2, TOP + HEIGHT + 34, "FLOP a byte", "middle"), text(LEFT - 56, TOP - 8, "TFLOP/s")]
    for limit, dash, label in [(product, "", f"bf16 product {product / 1e12:.0f} TFLOP/s"), (fp8, ' stroke-dasharray="6 4"', f"FP8 product {fp8 / 1e12:.0f}")]:
        if limit <= 0:
            continue
        corner = limit / copy
        out += [f'<polyline points="{x(low_x):.1f},{y(low_x * copy):.1f} {x(corner):.1f},{y(limit):.1f} {x(high_x):.1f},{y(limit):.1f}" fill="none" stroke="#222" stroke-width="1.3"{dash}/>',
                text(LEFT + WIDTH, y(limit) - 5, label, "end", 10)]
    out.append(text(x(2.0), y(2.0 * copy) - 12, f"copy {copy / 1e12:.2f} TB/s", size=10))
    labels = []
    for intensity, rate, label in points:
        if label not in labels:
            labels.append(label)
        out.append(f'<circle cx="{x(max(intensity, low_x)):.1f}" cy="{y(max(rate, low_y)):.1f}" r="3.6" fill="{COLOURS[labels.index(label) % 10]}" fill-opacity="0.75"/>')
    for i, label in enumerate(labels):
        out += [f'<circle cx="{LEFT + WIDTH - 150}" cy="{TOP + HEIGHT - 16 * (len(labels) - i):.1f}" r="4" fill="{COLOURS[i % 10]}"/>',
                text(LEFT + WIDTH - 140, TOP + HEIGHT - 16 * (len(labels) - i) + 4, label)]
    return out


def bars(ops, copy):
    largest = {}
    for op in ops:
        if op["flop"] == 0 and op["bytes"] > 0 and op["us"] > 0:
            key = op["name"] + (" " + op["shape"].split(" ")[0] if op["name"] in ("fp8_quantize", "route") else "")
            if key not in largest or op["bytes"] > largest[key]["bytes"]:
                largest[key] = op
    rows = sorted(largest.items(), key=lambda item: -item[1]["bytes"] / item[1]["us"])
    step = min(22, HEIGHT / max(1, len(rows)))
    scale = BARS_WIDTH / 1.1
    out = [text(BARS_LEFT - 200, 22, "operators that only move bytes: share of the copy", size=13)]
    for i, (name, op) in enumerate(rows):
        share, top = op["bytes"] / op["us"] * 1e6 / copy, TOP + i * step
        out += [text(BARS_LEFT - 6, top + step * 0.65, name, "end", 10),
                f'<rect x="{BARS_LEFT}" y="{top:.1f}" width="{min(share, 1.1) * scale:.1f}" height="{step * 0.75:.1f}" fill="{COLOURS[0] if share >= 0.8 else COLOURS[1]}"/>',
                text(BARS_LEFT + min(share, 1.1) * scale + 4, top + step * 0.65, f"{100 * share:.0f}%", size=10)]
    out.append(f'<line x1="{BARS_LEFT + 0.8 * scale:.1f}" x2="{BARS_LEFT + 0.8 * scale:.1f}" y1="{TOP}" y2="{TOP + step * len(rows):.1f}" stroke="#222" stroke-dasharray="3 3"/>')
    return out


def main(source, target):
    with open(source) as file:
        result = json.load(file)
    ops = [op for op in result["ops"] if "error" not in op]
    copy, product = result["machine"]["memory_gb_per_s"] * 1e9, result["machine"]["matrix_gflop_per_s"] * 1e9
    fp8 = max((op["flop"] / op["us"] * 1e6 for op in ops if op["name"] == "_scaled_mm"), default=0)
    width, height = BARS_LEFT + BARS_WIDTH + 50, TOP + HEIGHT + 50
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">', f'<rect width="{width}" height="{height}" fill="white"/>']
    out += roofline(ops, copy, product, fp8) + bars(ops, copy) + ["</svg>"]
    with open(target, "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
