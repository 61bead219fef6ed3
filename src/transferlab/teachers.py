"""Which nets a strategy's losses look up to, as its config names them."""

from dataclasses import dataclass

from transferlab.errors import InputError


@dataclass(frozen=True)
class Named:
    """A teacher of a strategy.

    Attributes:
        weight: beside other teachers, above 0.
        folder: of a finished run whose selected net teaches; None: the source's net as the run starts from it.
    """

    weight: float
    folder: str | None

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise InputError(f"strategy.teachers.*.weight={self.weight}: a number above 0")
