"""The one family of errors. Each says what is wrong, where, and what to do next."""


class BenchError(Exception):
    """Anything this tool reports to its user without a trace.

    `wrong` is the text without the next step, and `command` what to type as that step, where they are known apart.
    """

    def __init__(self, text: str, wrong: str | None = None, command: str | None = None) -> None:
        self.wrong = wrong or text
        self.command = command
        super().__init__(text)


class SetupError(BenchError):
    """The plan or the machine must be mended before anything can be measured (exit code 2)."""


class PlanError(SetupError):
    """A plan was refused; `problems` lists every fault found, each with its place."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source}: {count}; nothing was touched\n{lines}")


class ModeUnavailable(SetupError):
    """This device cannot enter this mode; the text says why and which command would change that."""


class DeviceError(BenchError):
    """A driver's tool failed, hung, or reported a state other than the one it was told to set."""


class RecordError(BenchError):
    """A stored record cannot be read or written; the text says which way to fix it."""


class LaunchError(BenchError):
    """A job could not be started; the trial fails and the run goes on."""


class RestoreError(BenchError):
    """The device could not be put back as it was found; nothing more is measured on it."""
