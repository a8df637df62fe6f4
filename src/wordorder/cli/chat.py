"""`wordorder generate RUN --chat`: a conversation with a model, one line for each turn.

The answers go to stdout, everything else to stderr, so that a script can send lines and read the
answers. With --json every line of input is answered by one JSON object on its own line:

    {"answer": "Black.", "tokens": 3, "seed": 7, "note": null}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from wordorder.cli.opened import open_run
from wordorder.cli.options.generate import GenerateOptions
from wordorder.cli.output import write
from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.model.decoding import Sampling
from wordorder.numerals import counted
from wordorder.settings import LARGEST
from wordorder.stopping import Stopped
from wordorder.text.chat_template import recorded_template
from wordorder.text.conversation import ChatPrompt, Conversation
from wordorder.text.stop_texts import StopTexts
from wordorder.text.user_text import decode, is_blank
from wordorder.training.compute import pick_device
from wordorder.training.moved_text import init_command
from wordorder.training.run import Run
from wordorder.training.text_generation import generate_text
from wordorder.training.threads import use_free_cores

HELP = "/reset begins a new conversation, /quit (or Ctrl-D) ends; Ctrl-C stops an answer"
LEAST_ANSWER = 1 / 4  # of the context, which is kept free for the answer


def chat(options: GenerateOptions, sampling: Sampling) -> int:
    """Answer line after line until the end of the input, and return the exit code.

    Args:
        sampling: of the first answer; each further one has the next seed.

    Raises:
        BadInput: the run was not trained on conversations, --system does not fit its template or
            its context, or standard input is closed.
    """
    run = open_run(options.run, trust=options.trust)
    run.check_next_token("generate --chat")
    use_free_cores()
    if run.chat is None:
        raise BadInput(
            f"--chat needs a model trained on conversations, and {run.folder} was not: fine-tune "
            f"it with {init_command(run.folder)} --data chats.jsonl, or leave out --chat",
            code="cli.chat-no-template",
        )
    if sys.stdin is None:
        raise BadInput(
            "--chat reads standard input, which is closed: open it", code="cli.chat-no-stdin"
        )
    template = recorded_template(run.chat)
    if options.system is not None and not template.has_history:
        raise BadInput(
            f"--system needs a chat template with roles, and {run.folder} was trained with "
            f"{template.name}, which has none: leave out --system",
            code="cli.chat-no-roles",
        )
    system = None if options.system is None or is_blank(options.system) else options.system
    conversation = Conversation(template, run.tokenizer, system, opens=run.opens_conversations)
    session = _Session(options, sampling, run, conversation)
    if sys.stdin.isatty():
        _say(HELP)
    if not template.has_history:
        _say("the model was trained on single answers: each line is answered by itself")
    for line in _lines():
        text = line.strip()
        if text == "/quit":
            break
        if text == "/reset":
            session.conversation.turns.clear()
            session.tell("a new conversation")
        elif text == "/help":
            session.tell(HELP)
        elif line.startswith("/"):
            unknown = f"there is no {text.split()[0]}: {HELP}"
            session.tell(f"{unknown}; put a space before / to send the line")
        elif not is_blank(text):
            session.turn(text)
        elif options.json:
            session.tell("the line is blank")
    return 0


def _lines() -> Iterator[str]:
    """Yield the lines of standard input, with a prompt in a terminal."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # on Windows
            import readline  # noqa: F401  # gives `input` line editing and a history
        # Python writes a prompt to stdout, unless both are terminals.
        shown = "> " if sys.stdout.isatty() else ""
        while True:
            if not shown:
                print("> ", end="", file=sys.stderr, flush=True)
            try:
                yield input(shown)
            except EOFError:
                print(file=sys.stderr)
                return
    for number, data in enumerate(sys.stdin.buffer, start=1):
        yield decode(data, f"standard input, line {number}", is_line=True)


class _Session:
    """A model that answers within its context."""

    def __init__(
        self, options: GenerateOptions, sampling: Sampling, run: Run, conversation: Conversation
    ) -> None:
        self.conversation, self.sampling, self.cache = conversation, sampling, options.cache
        self.stop, self.json = options.stop, options.json
        self.model: TokenModel = run.load_model(pick_device(options.device))
        self.context = run.model_config.trained_length
        if extension := run.config.get("extension"):
            self.context = extension["to_length"]
        reserved = min(sampling.max_tokens, max(1, int(self.context * LEAST_ANSWER)))
        self.most_tokens = self.context - reserved
        if conversation.system and (least := conversation.least_tokens()) >= self.most_tokens:
            raise BadInput(
                f"the system prompt takes {least:,} of the {self.context:,} tokens of the context, "
                f"of which {reserved:,} are kept for the answer: shorten --system",
                code="cli.chat-system-too-long",
            )

    def turn(self, text: str) -> None:
        """Answer a line, and add both to the conversation."""
        try:
            prompt, dropped = self.conversation.ask(text, self.most_tokens)
        except BadInput as error:
            self.tell(str(error))
            return
        if prompt is None:
            self.tell(
                f"this line leaves no room for an answer in the context of {self.context:,} "
                "tokens: shorten it"
            )
            return
        if dropped:
            _say(f"the oldest {counted(dropped, 'turn')} no longer fit and were dropped")
        self.conversation.answered(self._answer(prompt))

    def _answer(self, prompt: ChatPrompt) -> str:
        """Stream an answer and return it; Ctrl-C stops it."""
        room = self.context - len(prompt.tokens) + 1  # the last token is not read
        most = min(self.sampling.max_tokens, room)
        sampling = replace(self.sampling, max_tokens=most)
        self.sampling = replace(self.sampling, seed=(self.sampling.seed + 1) % LARGEST)
        written: list[str] = []
        note, until, is_over = "", StopTexts(self.stop), False
        try:
            for piece in generate_text(self.model, prompt, sampling, until, use_cache=self.cache):
                written.append(piece)
                if not self.json:
                    write(piece)
            is_over = True  # the last piece is not of a token
            if len(written) == 1 and not until.found:
                note = "the model ended its answer at once: put the line in other words"
            elif len(written) > most and not until.found:
                note = f"the answer was cut after {counted(most, 'token')}"
        except KeyboardInterrupt as error:
            if isinstance(error, Stopped):  # a signal that ends the command
                raise
        answer = "".join(written)
        if self.json:
            self._record(answer, len(written) - is_over, sampling.seed, note or None)
        else:
            print(flush=True)
            if note:
                _say(note)
        return answer

    def tell(self, what: str) -> None:
        """Say what a line does instead of being answered."""
        if self.json:
            self._record(None, 0, self.sampling.seed, what)
        else:
            _say(what)

    def _record(self, answer: str | None, tokens: int, seed: int, note: str | None) -> None:
        record = {"answer": answer, "tokens": tokens, "seed": seed, "note": note}
        print(json.dumps(record), flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
