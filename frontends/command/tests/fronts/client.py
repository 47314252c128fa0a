"""Types on a VNC server, saves what it shows, and presses Escape: PORT PASSWORD TEXT FILE."""

import asyncio
import sys

import asyncvnc
from PIL import Image


async def main(port, password, text, path):
    async with asyncvnc.connect("127.0.0.1", int(port), password=password) as client:
        for character in text:
            client.keyboard.write(character)
            await asyncio.sleep(0.15)
        await asyncio.sleep(2)
        pixels = await client.screenshot()
        Image.fromarray(pixels).convert("RGB").save(path)
        client.keyboard.press("Esc")
        await client.drain()
        await asyncio.sleep(0.5)


asyncio.run(main(*sys.argv[1:]))
