"""What the blocking and the asyncio clients have in common: everything but the waiting."""
