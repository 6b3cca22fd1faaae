"""`python -m tests.fuzz [TARGET ...] [--seconds N]`: search for inputs that a parser takes badly.

With atheris (`pip install '.[fuzz]'`) the search is guided by what code an input reaches; without it Hypothesis
searches blindly. Either begins with the tables of the unit tests. The exit status is 1 if something was found: the
input is printed as Python writes it, to become a unit test before the parser is mended.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

SECONDS = 60.0
# Bytes of the longest input, and seconds that one may take: every parser is linear.
SIZE_MAX = 4096
SLOW = 5


@click.command()
@click.argument("names", metavar="[TARGET]...", nargs=-1)
@click.option("--seconds", default=SECONDS, show_default=True, help="Time for each target.")
@click.option("--corpus", "folder", type=click.Path(path_type=Path), help="Where inputs are kept for the next time.")
@click.option("--list", "lists", is_flag=True, help="List the targets.")
@click.option("--input", "given", type=click.Path(exists=True, path_type=Path), help="Run one input, from a file.")
@click.option("--blindly", is_flag=True, help="Search with Hypothesis even where atheris is installed.")
@click.option("--worker", is_flag=True, hidden=True)
def main(
    names: tuple[str, ...],
    seconds: float,
    folder: Path | None,
    lists: bool,
    given: Path | None,
    blindly: bool,
    worker: bool,
) -> None:
    """Fuzz the targets with these names, or all, one after the other."""
    is_guided = not blindly and importlib.util.find_spec("atheris") is not None
    if worker:
        assert folder is not None
        search_guided(names[0], seconds, folder)
    from tests.fuzz.targets import TARGETS

    for name in names:
        if name not in TARGETS:
            raise click.UsageError(f"there is no target {name!r}; there are {', '.join(TARGETS)}")
    if lists:
        for name, target in TARGETS.items():
            click.echo(f"{name:15}{target.run.__doc__.partition(chr(10))[0] if target.run.__doc__ else ''}")
        return
    if given is not None:
        for name in names:
            TARGETS[name].run(given.read_bytes())
        return
    search = search_apart if is_guided else search_blindly
    click.echo(f"{'atheris' if is_guided else 'Hypothesis'}, {seconds:g} s for each target")
    found = [name for name in names or TARGETS if not search(name, seconds, folder)]
    if found:
        click.echo(f"found something: {', '.join(found)}")
        sys.exit(1)


def search_blindly(name: str, seconds: float, folder: Path | None) -> bool:
    """Have Hypothesis search for a while; tell whether nothing was found."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.corpus import corpus, mutations
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    first = corpus(target)
    near = st.randoms(use_true_random=False).map(lambda random: next(mutations(target, first, random)))
    end = time.monotonic() + seconds
    count = 0

    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.sampled_from(first), near, st.binary(max_size=200)))
    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        target.run(data)

    try:
        while time.monotonic() < end:
            run()
    except Exception as error:
        click.echo(f"{name}: {describe(error)}", err=True)
        return False
    click.echo(f"{name}: nothing in {count} inputs")
    return True


def search_apart(name: str, seconds: float, folder: Path | None) -> bool:
    """Have atheris search in a process of its own, which it ends itself; tell whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        kept = (folder or Path(scratch)) / name
        kept.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            name,
            "--worker",
            "--seconds",
            str(seconds),
            "--corpus",
            str(kept),
        ]
        # libFuzzer ends the process without cleaning up, so what it leaves behind is to be in the scratch folder.
        environment = {**os.environ, "TMPDIR": scratch}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    # What libFuzzer says of its progress is left out.
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("#", "INFO", "WARNING"))]
    if done.returncode != 0:
        click.echo(f"{name}: status {done.returncode}\n" + "\n".join(lines[-40:]), err=True)
        return False
    told = [line for line in lines if line.startswith("Done ")]
    click.echo(f"{name}: nothing; {told[-1].lower() if told else 'no count'}")
    return True


def search_guided(name: str, seconds: float, folder: Path) -> None:
    """Search with atheris in this process; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["gripproxy"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.corpus import corpus

    target = TARGETS[name]
    for number, data in enumerate(corpus(target)):
        (folder / f"seed-{number}").write_bytes(data)

    def run(data: bytes) -> None:
        try:
            target.run(data)
        except Exception as error:
            print(f"{describe(error)}\ninput: {data!r}", flush=True)
            raise

    options = [
        f"-max_total_time={int(seconds)}",
        f"-max_len={SIZE_MAX}",
        f"-timeout={SLOW}",
        f"-artifact_prefix={folder.parent}{os.sep}{name}-",
        "-rss_limit_mb=2048",
    ]
    if target.words:
        words = folder.parent / f"{name}.words"
        words.write_text("".join([quoted(word) + "\n" for word in target.words]))
        options.append(f"-dict={words}")
    atheris.Setup([sys.argv[0], *options, str(folder)], run)
    atheris.Fuzz()


def quoted(word: bytes) -> str:
    """A word as a line of libFuzzer's dictionary."""
    return '"' + "".join([f"\\x{byte:02x}" for byte in word]) + '"'


def describe(error: BaseException) -> str:
    """An error with its notes, in lines."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


if __name__ == "__main__":
    main()
