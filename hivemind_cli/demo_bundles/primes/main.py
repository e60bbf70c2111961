"""A numeric job: counts the primes below a limit with a segmented sieve, and twin primes on the way."""

import json
import math
import time
from pathlib import Path

LIMIT = 50_000_000
SEGMENT = 2_000_000


def small_primes(limit: int) -> list[int]:
    """Primes up to and including `limit`, by the plain sieve."""
    flags = bytearray([1]) * (limit + 1)
    flags[0:2] = b"\0\0"
    for number in range(2, math.isqrt(limit) + 1):
        if flags[number]:
            flags[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number, is_prime in enumerate(flags) if is_prime]


def sieve_segment(low: int, high: int, primes: list[int]) -> bytearray:
    """One flag for each number of [low, high)."""
    flags = bytearray([1]) * (high - low)
    for prime in primes:
        if prime * prime >= high:
            break
        first = max(prime * prime, -(-low // prime) * prime) - low
        flags[first::prime] = bytes(len(range(first, high - low, prime)))
    return flags


def main() -> None:
    """Count, tell how far it is, and leave result.json."""
    primes = small_primes(math.isqrt(LIMIT) + 1)
    count = twins = 0
    largest = -SEGMENT
    began = time.monotonic()
    for low in range(0, LIMIT, SEGMENT):
        high = min(low + SEGMENT, LIMIT)
        flags = sieve_segment(low, high, primes)
        if low == 0:
            flags[0:2] = b"\0\0"
        count += sum(flags)
        # A pair that straddles two segments is seen from its larger half.
        joined = bytes([low - largest == 2, low - largest == 1]) + flags
        twins += sum(map(int.__and__, joined, memoryview(joined)[2:]))
        largest = low + flags.rindex(1)
        print(f"{100 * high // LIMIT:3d} %  primes below {high:>10,}: {count:>9,}   twins: {twins:,}", flush=True)
    result = {"limit": LIMIT, "primes": count, "twin_pairs": twins, "largest": largest}
    Path("result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"done in {time.monotonic() - began:.1f} s: {count:,} primes, the largest is {largest:,}")


if __name__ == "__main__":
    main()
