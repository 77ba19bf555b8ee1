"""What is offered for a transaction (EIP-1559), and how an offer is raised."""

from dataclasses import dataclass

DEFAULT_TIP_WEI = 10**9


class FeesTooHigh(Exception):
    """The chain asks for more than the cap: waiting costs nothing."""


@dataclass(frozen=True, slots=True)
class Fees:
    """An offer, in wei per gas.

    Attributes:
        max_wei: What is paid at most, base fee and tip together.
        tip_wei: What the block's maker gets of it.
    """

    max_wei: int
    tip_wei: int


def offer(base_fee_wei: int, *, cap_wei: int, tip_wei: int = DEFAULT_TIP_WEI) -> Fees:
    """An offer that lasts while the base fee doubles, at most the cap.

    Raises:
        FeesTooHigh: If even the present base fee and the tip are above the cap.
    """
    if base_fee_wei + tip_wei > cap_wei:
        raise FeesTooHigh(f"{base_fee_wei + tip_wei} wei per gas is above the cap of {cap_wei}.")
    return Fees(min(2 * base_fee_wei + tip_wei, cap_wei), tip_wei)


def raised(former: Fees, base_fee_wei: int, *, cap_wei: int) -> Fees:
    """An offer that takes a former one's place: an eighth more in both parts.

    Nodes want a tenth more; 12.5 % is the most any of the usual ones asks.

    Raises:
        FeesTooHigh: If that is above the cap.
    """
    tip_wei = _an_eighth_more(former.tip_wei)
    max_wei = max(_an_eighth_more(former.max_wei), min(2 * base_fee_wei + tip_wei, cap_wei))
    if max_wei > cap_wei:
        raise FeesTooHigh(f"A replacement needs {max_wei} wei per gas, the cap is {cap_wei}.")
    return Fees(max_wei, tip_wei)


def _an_eighth_more(wei: int) -> int:
    return -(-wei * 9 // 8)
