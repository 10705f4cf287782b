"""An HTTP server before the engine; needs the extra `serve`."""
