"""What a client tells about itself: events, and adapters that pass them on."""
