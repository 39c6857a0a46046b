"""How final answers are announced in languages besides English and Chinese: "La respuesta correcta es la B".

    ANNOUNCED, VERB, ...              # regular expressions for all of them together, which `extract` is made of
    speaks("Die Antwort ist 5")       # True: they are worth looking for
    with_point("3,5 kg", "Antwort")   # "3{,}5 kg": after such an announcement a comma may be decimal

What a word means in one of them it may mean in any: a text is not asked for its language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Language:
    """Regular expressions, each a list of alternatives; `nouns` are plain words.

    Attributes:
        nouns: what is announced.
        verbs: what stands between it and the answer.
        before: words before the answer that are no part of it.
        because: what begins a reason behind the answer.
        remarks: what an answer is said to be instead of being stated.
    """

    nouns: str
    verbs: str = ""
    before: str = ""
    because: str = ""
    remarks: str = ""


_LANGUAGES = {
    "Spanish": _Language(
        nouns="respuesta|respuestas|resultado final|solución final|solucion final|opción correcta|opcion correcta"
              "|alternativa correcta",
        verbs="es|son|ser[íi]a|ser[áa]",
        before="igual a|entonces|por lo tanto|por tanto|simplemente|exactamente|aproximadamente|(?:la )?opci[óo]n"
               "|la alternativa|la letra",
        because="porque|ya que|puesto que|dado que|debido a",
        remarks="correct[ao]|incorrect[ao]|verificad[ao]"),
    "French": _Language(
        nouns="réponse|réponses|résultat final|solution finale|option correcte|bonne option",
        verbs="est|sont|serait|sera|vaut",
        before="donc|alors|ainsi|égale? à|exactement|simplement|environ|l['’]option|la lettre",
        because="parce que|puisque|étant donné",
        remarks=r"correcte?|incorrecte?|fausse|(?:juste|exacte?)(?=\W{0,9}$)"),
    "German": _Language(
        nouns="antwort|antworten|endergebnis|endantwort|richtige option|korrekte option",
        verbs="ist|sind|lautet|lauten|wäre|beträgt",
        before="also|daher|somit|demnach|folglich|genau|einfach|ungefähr|gleich|(?:die )?option",
        because="weil|da wir|da die|da das",
        remarks="richtig|korrekt|falsch"),
    "Portuguese": _Language(
        nouns="resposta|respostas|resultado final|solução final|opção correta|alternativa correta",
        verbs="é|são|seria|será",
        before="igual a|então|portanto|simplesmente|exatamente|aproximadamente|(?:a )?opção|(?:a )?alternativa|a letra",
        because="já que|visto que|uma vez que",
        remarks="corret[ao]|incorret[ao]|cert[ao]"),
    "Italian": _Language(
        nouns="risposta|risposte|risultato finale|soluzione finale|opzione corretta|alternativa corretta",
        verbs="è|sono|sarebbe|sarà",
        before="quindi|dunque|allora|pertanto|uguale a|semplicemente|esattamente|circa|l['’]opzione|opzione|la lettera",
        because="perché|poiché|dato che",
        remarks="corrett[ao]|esatt[ao]|giust[ao]|sbagliat[ao]"),
    "Russian": _Language(
        nouns="ответ|ответом|ответа|ответы|правильный вариант",
        verbs="это|равен|равна|равно|является|являются|составляет|будет|есть|—|–",
        before="это|вариант|буква|таким образом|значит|равно|ровно|примерно",
        because="потому что|так как|поскольку|ибо",
        remarks=r"верн\w{1,3}|неверн\w{1,3}|правильн\w{1,3}"),
    "Arabic": _Language("الجواب|الإجابة|الاجابة", "هو|هي"),
    "Hindi": _Language("उत्तर", "है"),
    "Bengali": _Language("উত্তর"),
    "Vietnamese": _Language("đáp án|đáp số", "là"),
    "Turkish": _Language("cevap"),
}
_CLOSE_UP = _Language(nouns="最終解答|答え|解答|正解|回答|정답|답|คำตอบ", verbs="は、?|은|는|คือ",
                      before="つまり|すなわち|選択肢|約", because="なぜなら", remarks="正しい|正解です|間違い")
"""Japanese, Korean and Thai: without white space between noun, verb and answer."""


def _together(part: str, close_up: bool = False) -> str:
    found = [getattr(language, part) for language in (*_LANGUAGES.values(), *((_CLOSE_UP,) if close_up else ()))]
    return f"(?:{'|'.join(filter(None, found))})"


_VERBS = _together("verbs")
_WORD = rf"[ \t]+(?!{_VERBS}(?![^\W_]))[^\s.,:：\d$\\*=—–]{{1,20}}+"
_NOUNS = rf"(?<![^\W_]){_together('nouns')}(?![^\W_])"
ANNOUNCED = (rf"(?:{_NOUNS}(?:{_WORD}){{0,8}}+|(?:{_CLOSE_UP.nouns}))"
             r"(?:[ \t]?\([^()\n]{0,60}\)|,[^.\n:=,]{0,60},)?[*_]{0,3}[ \t]*")
"""What is announced, with up to eight words behind that belong to it: la respuesta correcta a la pregunta."""
HEADING = rf"(?:{_NOUNS}(?:[ \t]+(?:final\w?|corre\w{{1,4}}|définitive))?|(?:{_CLOSE_UP.nouns}))"
"""What may stand on a line of its own, the answer below."""
VERB = rf"(?:{_VERBS}(?![^\W\d_])|(?:{_CLOSE_UP.verbs}))"
BEFORE = (rf"(?:{_together('before', True)}(?![^\W\d_])"
          r"|(?-i:la|el|los|las|les?|die|der|das|il|lo|a|o)(?=[ \t]+[*(]{0,3}(?-i:[A-J])[)*.]{0,3}(?![^\W_])))")
"""Words before the answer; of articles those before a choice's letter."""
BECAUSE = rf"(?:{_together('because', True)}|(?<=,[ \t])(?:car|denn|da|pues|pois))"
REMARKS = _together("remarks", True)
_PLAIN_NOUNS = tuple(noun for language in (*_LANGUAGES.values(), _CLOSE_UP) for noun in language.nouns.split("|"))
_FIRST_WITHOUT_COMMA = "\u0530"  # the letters before are Latin, Greek and Cyrillic
_COMMA = re.compile(r"([^\d,]*)(\d{1,3}(?:[. \u00a0\u202f]\d{3})+|\d+),(\d+)([^\d,]*)")

_GROUPED = re.compile(r"[^\d,.]*\d{1,3}(?:\.\d{3}){2,}[^\d,.]*")


def speaks(text: str) -> bool:
    """Whether a text may hold an announcement: searches for plain words, which take a tenth of one for `ANNOUNCED`."""
    low = text.lower()
    return any(noun in low for noun in _PLAIN_NOUNS)


def with_point(stated: str, mark: str) -> str:
    r"""`stated` with its decimal comma as TeX has it, where `mark`, the announcement, is in a language that has one,
    and where it separates no thousands: 3,5 and 0,125 and 1.234,50, but not 3,500 and not 3, 5. Points between
    thousands go too: 1.000.000."""
    if mark[0] >= _FIRST_WITHOUT_COMMA:
        return stated
    match = _COMMA.fullmatch(stated)
    if match is None:
        return stated.replace(".", "") if _GROUPED.fullmatch(stated) else stated
    before, whole, part, behind = match.groups()
    if len(part) == 3 and whole.isdecimal() and whole != "0":
        return stated
    return f"{before}{re.sub(r'[^0-9]', '', whole)}{{,}}{part}{behind}"
