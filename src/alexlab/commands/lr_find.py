"""Find a learning rate: `alexlab lr-find model=alexnet data=pokemon`.

The rate rises with each step, and the loss is recorded; a good rate is where the loss falls
fastest. Only a plot of the curve is kept.
"""

from pathlib import Path

from alexlab.commands.arguments import add_settings, command_parser, explain_setting
from alexlab.errors import check_file, user_errors
from alexlab.reporting.console import path_link


def main() -> None:
    """Run `alexlab lr-find`."""
    parser = command_parser("lr-find", __doc__)
    add_settings(parser, "model=alexnet optim=adam")
    parser.add_argument("--low", type=float, default=1e-5, help="first rate (default 1e-5)")
    parser.add_argument("--high", type=float, default=1.0, help="last rate (default 1)")
    parser.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    parser.add_argument("--out", type=Path, default=Path("multirun/lr_find.png"), help="PNG file")
    options = parser.parse_args()
    with user_errors(explain_setting):
        check_file(f"--out {options.out}", options.out, "lr_find.png")
        from alexlab.runs.config import compose_config

        cfg = compose_config(options.settings)

        from alexlab.training.lr_find import find  # torch takes seconds

        curve = find(cfg, options.low, options.high, options.steps)
        curve.draw(options.out)
        print(path_link(options.out))
        if curve.suggestion is None:
            raise ValueError(
                f"no suggestion: the loss did not fall at any rate in {options.steps} steps. A net"
                " that starts on a plateau (AlexNet) needs\nseveral hundred --steps; or use a tenth"
                " of the rate at which the loss in the plot starts to rise"
            )
        lowest = curve.lrs[curve.smooth.argmin()]
        print(f"optim.lr={curve.suggestion:.2g}   (falls fastest here; lowest at {lowest:.2g})")
