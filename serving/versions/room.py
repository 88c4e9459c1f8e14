"""Choose the versions to evict: unused for too long, or least recently used beyond `serving.max_versions`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from serving.versions.open_version import OpenVersion, UnusableVersion


def without_role(versions: Iterable[OpenVersion], roles: Collection[int]) -> list[OpenVersion]:
    """Return the versions that have no role, the one unused for longest first."""
    return sorted((one for one in versions if one.number not in roles), key=lambda one: one.used)


def unused(versions: Collection[OpenVersion], roles: Collection[int], most: int, since: float) -> list[OpenVersion]:
    """Return the versions that nobody uses: those not used *since*, and those without a role beyond the limit.

    Args:
        versions: The open versions that may be closed.
        roles: Numbers of the versions that do not count: champions and challenger.
        most: Largest number of versions without a role.
        since: A time (`time.monotonic`).
    """
    others = without_role(versions, roles)
    beyond = {one.number for one in others[: max(0, len(others) - most)]}
    return [one for one in versions if not one.leases and (one.number in beyond or one.used < since)]


def makes_room(others: Iterable[OpenVersion], most: int, asked: str) -> OpenVersion:
    """Return the version that is closed for another one: of those that nobody uses the one unused for longest.

    Args:
        others: The open versions without a role, the one unused for longest first; there are *most*.
        most: Largest number of them.
        asked: The version that needs the room.

    Raises:
        UnusableVersion: All of them answer requests.
    """
    for one in others:
        if not one.leases:
            return one
    said = f"as many versions as serving.max_versions allows ({most}) are open and answer requests"
    raise UnusableVersion(f"{asked} is not open: {said}")
