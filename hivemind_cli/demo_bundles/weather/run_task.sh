#!/bin/sh
# A job with an input file and several output files: readings in, a report for every station out.
set -eu

echo "input: $(wc -l <readings.csv) lines from $(cut -d, -f2 readings.csv | sed 1d | sort -u | wc -l) stations"
mkdir -p stations
python3 report.py
echo "output:"
for file in summary.csv report.md chart.svg stations/*.csv; do
    echo "  $file: $(wc -c <"$file") bytes"
done
