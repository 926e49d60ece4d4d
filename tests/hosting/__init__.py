"""Everything the development commands need around a real ComfyUI: environment, host, server, client."""
