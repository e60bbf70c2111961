"""Reads readings.csv; writes a summary, a report, a chart and one file per station."""

import csv
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def read(path: Path) -> dict[str, list[tuple[str, float]]]:
    """Station → (day, temperature in degrees Celsius), in the order of the file."""
    stations: dict[str, list[tuple[str, float]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            stations[row["station"]].append((row["day"], float(row["celsius"])))
    return stations


def summarise(stations: dict[str, list[tuple[str, float]]]) -> list[dict[str, object]]:
    """One row per station."""
    rows: list[dict[str, object]] = []
    for name, readings in sorted(stations.items()):
        coldest, warmest = min(readings, key=lambda r: r[1]), max(readings, key=lambda r: r[1])
        rows.append(
            {
                "station": name,
                "readings": len(readings),
                "mean": round(fmean(value for _, value in readings), 2),
                "coldest": coldest[1],
                "coldest_day": coldest[0],
                "warmest": warmest[1],
                "warmest_day": warmest[0],
            }
        )
        with Path("stations", f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("day", "celsius"), *readings])
        print(f"{name}: {len(readings)} readings, mean {rows[-1]['mean']} degrees", flush=True)
        time.sleep(0.8)  # so that there is something to watch
    return rows


def chart(stations: dict[str, list[tuple[str, float]]]) -> str:
    """All stations as lines in one SVG."""
    values = [value for readings in stations.values() for _, value in readings]
    low, span = min(values), max(values) - min(values) or 1.0
    lines = []
    for colour, (name, readings) in zip(COLOURS, sorted(stations.items()), strict=False):
        step = 600 / max(1, len(readings) - 1)
        points = " ".join(f"{i * step:.1f},{190 - 180 * (v - low) / span:.1f}" for i, (_, v) in enumerate(readings))
        lines.append(f'<polyline fill="none" stroke="{colour}" points="{points}"><title>{name}</title></polyline>')
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 200">{"".join(lines)}</svg>\n'


def main() -> None:
    """All of it."""
    stations = read(Path("readings.csv"))
    rows = summarise(stations)
    with Path("summary.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = ["# Weather", "", "| station | mean | coldest | warmest |", "|---|---|---|---|"]
    for row in rows:
        coldest, warmest = f"{row['coldest']} on {row['coldest_day']}", f"{row['warmest']} on {row['warmest_day']}"
        lines.append(f"| {row['station']} | {row['mean']} | {coldest} | {warmest} |")
    Path("report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Path("chart.svg").write_text(chart(stations), encoding="utf-8")
    print("summary.csv, report.md and chart.svg are written", flush=True)


if __name__ == "__main__":
    main()
