"""Verb: talk to a run's newest model in a browser."""

import ipaddress
import socket
import sys
from pathlib import Path

from nanochat.arguments import add_device, check_device
from nanochat.generate import Sampling
from nanochat.saved import load_newest
from nanochat.settings import require
from nanochat.verb import Parser, run, say
from nanochat.web.requests import Defaults


def main(argv: list[str] | None = None) -> None:
    """Parse, load, serve until it is interrupted."""
    parser = Parser("Talk to a run's newest model in a browser.", root=False)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's directory, or a vanilla root")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8_000, help="0: any that is free")
    parser.add_argument("--max-tokens", type=int, default=256, help="of an answer, at most")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token")
    parser.add_argument("--top-k", type=int, default=50, help="draw from so many tokens; 0: from all")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    add_device(parser)
    args = parser.parse_args(argv)
    require(args.max_tokens >= 1, "--max-tokens", args.max_tokens, "at least 1")
    require(0 <= args.port < 2**16, "--port", args.port, "in [0, 65535]")
    check_device(args)
    sampling = Sampling(temperature=args.temperature, top_k=args.top_k, seed=args.seed)
    saved = load_newest(args.run_dir)
    saved.model.to(args.device)

    import uvicorn  # here, so that a wrong argument is told without it

    from nanochat.web.app import build_app

    listening = _listen(args.host, args.port)
    port = listening.getsockname()[1]
    app = build_app(saved, Defaults(sampling=sampling, max_tokens=args.max_tokens))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    say(
        f"{saved.path.name}, {saved.model.parameter_count():,} parameters: http://{_in_url(args.host)}:{port}"
    )
    if not _is_loopback(args.host):
        say("whoever reaches this address can use it: there is no authentication")
    server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"--host and --port are {host} and {port}, where nothing can listen ({error}); "
            "they must be free: try --port 0"
        ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(run(main))
