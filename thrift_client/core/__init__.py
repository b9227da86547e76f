"""What a call is, without any I/O: shared by the blocking, fanned out and asyncio clients."""
