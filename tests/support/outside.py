"""The world that effects change, for tests of effect stores."""

import asyncio

from pydantic import JsonValue

from compensation.effects import Forward


class Outside:
    """What happened to it, in order, and how much of it at once."""

    def __init__(self) -> None:
        self.log: list[object] = []
        self.at_once = self.most_at_once = 0

    def doing(self, result: JsonValue = "receipt") -> Forward:
        async def effect() -> JsonValue:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.log.append("do")
            for _ in range(5):
                await asyncio.sleep(0)
            self.at_once -= 1
            return result

        return effect

    async def failing(self) -> JsonValue:
        self.log.append("do, cut off")
        raise ConnectionError

    async def undoing(self, result: JsonValue) -> None:
        self.log.append(("undo", result))

    async def failing_to_undo(self, result: JsonValue) -> None:
        self.log.append(("undo, cut off", result))
        raise ConnectionError
