"""An AXI4-Lite master for simulations."""

import random


class LiteMaster:
    """Reads and writes registers with random delays on every channel; returns the response too."""

    def __init__(self, port: object, seed: int = 0, delay: int = 3):
        self.port, self.delay, self._rng = port, delay, random.Random(seed)
        self.address_first = self.data_first = 0

    async def _pause(self, ctx) -> None:
        for _ in range(self._rng.randint(0, self.delay)):
            await ctx.tick()

    async def write(self, ctx, address: int, value: int, strobe: int = 0xF) -> int:
        """Write a word; address and data start independently."""
        port = self.port
        begin = {"aw": self._rng.randint(0, self.delay), "w": self._rng.randint(0, self.delay)}
        self.address_first += begin["aw"] < begin["w"]
        self.data_first += begin["w"] < begin["aw"]
        ctx.set(port.awaddr, address)
        ctx.set(port.wdata, value)
        ctx.set(port.wstrb, strobe)
        cycle, open_channels = 0, {"aw", "w"}
        while open_channels:
            for name in open_channels:
                ctx.set(getattr(port, f"{name}valid"), cycle >= begin[name])
            *_, aw, w = await ctx.tick().sample(port.awready & port.awvalid, port.wready & port.wvalid)
            for name, done in (("aw", aw), ("w", w)):
                if done and name in open_channels:
                    ctx.set(getattr(port, f"{name}valid"), 0)
                    open_channels.remove(name)
            cycle += 1
        await self._pause(ctx)
        ctx.set(port.bready, 1)
        while True:
            *_, valid, response = await ctx.tick().sample(port.bvalid, port.bresp)
            if valid:
                ctx.set(port.bready, 0)
                return response.value

    async def read(self, ctx, address: int) -> tuple[int, int]:
        """Value and response of a word."""
        port = self.port
        await self._pause(ctx)
        ctx.set(port.araddr, address)
        ctx.set(port.arvalid, 1)
        while True:
            *_, ready = await ctx.tick().sample(port.arready)
            if ready:
                break
        ctx.set(port.arvalid, 0)
        await self._pause(ctx)
        ctx.set(port.rready, 1)
        while True:
            *_, valid, value, response = await ctx.tick().sample(port.rvalid, port.rdata, port.rresp)
            if valid:
                ctx.set(port.rready, 0)
                return value, response.value
