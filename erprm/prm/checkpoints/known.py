"""The forms in which PRMs lie on disk: one registry, which reading, export and the command line share. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One form of checkpoint.

    Attributes:
        help: what it is.
        told_by: what says so in the files; "--form" where nothing does.
        rows: how a solution is written for it.
        score: how a step's score is read.
        two_rows: whether its head is two rows of its own rather than two of a vocabulary head.
        exported: whether `erprm export` writes it.
    """

    help: str
    told_by: str
    rows: str
    score: str
    two_rows: bool = False
    exported: bool = False


_OWN_ROWS = "prompt, newline, step, tag, newline, step, tag ..."
_OWN_SCORE = "softmax of the two rows at the tag"

FORMS: dict[str, Form] = {
    "classification": Form("own: token classification with two labels", "erprm.json, `...ForTokenClassification`",
                           _OWN_ROWS, _OWN_SCORE, two_rows=True, exported=True),
    "causal-rows": Form("own: a causal language model's transformer and two rows",
                        "erprm.json, `...ForCausalLM`, a weight `score.weight`", _OWN_ROWS, _OWN_SCORE, two_rows=True),
    "causal-lm": Form("own or the paper's: a causal language model", "erprm.json, `...ForCausalLM`; or `--form`",
                      _OWN_ROWS, 'softmax of " +" against " -" at the tag', exported=True),
    "math-shepherd": Form("Math-Shepherd's causal language model", "the name; or `--form`",
                          'one text "problem step ки\\nstep ки"', 'softmax of "+" against "-" at "ки"'),
    "rlhflow": Form("RLHFlow's causal language model", "the name; or `--form`",
                    'chat turns: a step is the user\'s, "+" the assistant\'s',
                    'softmax of "+" against "-" where the answer is predicted'),
    "trl": Form("TRL's token classification", "`...ForTokenClassification` without erprm.json",
                "each step and `--separator` tokenised on its own", "softmax of class 1 at the separator"),
    "qwen2.5-math-prm": Form("Linear, ReLU, Linear to two classes", "`Qwen2ForProcessRewardModel`",
                             "chat template, `<extra_0>` behind each step", "softmax of class 1 at `<extra_0>`"),
    "skywork-o1": Form("Linear to one value", "a weight `v_head.summary.weight`",
                       "beginning of sequence, problem, newline, each step with a newline",
                       "sigmoid at the line end"),
}


def table() -> str:
    """The forms as a Markdown table, the one in docs/scoring.md."""
    lines = ["| form | what it is | told by | rows are written as | score of a step |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {form.help} | {form.told_by} | {form.rows} | {form.score} |" for name, form in FORMS.items()]
    return "\n".join(lines)
