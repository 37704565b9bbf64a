"""Text that breaks tokenizers: digits, apostrophes, marks, spaces, emoji, surrogates, runs."""

from hypothesis import strategies as st

WORDS = (
    "a b the Don É ß 字 東京 न ǅ ʰ ª 0 1 12 ٣ ² Ⅷ 一 ① 's 'S 't 'll 'LL 'Ve 're 'm 'D '\u017f \u2019s "
    "'' ?! == 🙂 🇩🇪 👩\u200d💻 <|bos|> <|endoftext|>"
)
CHARACTERS = (
    "\u017f\u212a\u0627\u093f\u0e33\U0001d7d8'!_-$ \t\n\r\v\f\x1c\x85\u00a0\u1680\u180e\u2003\u2028\u2029"
    "\u200b\u202f\u3000\ufeff\x00\x7f\u00ad\u0301\u20dd\u200d\ufe0f\U000e0001\ue000\ufffd\uffff\u0378"
)
SURROGATES = ["\ud800", "\udc80", "\udcff", "\udfff", "\ud83d\ude42"]

ATOM = st.sampled_from([*WORDS.split(" "), *CHARACTERS, "  ", "\r\n", "\U0010ffff"])
ANY = st.characters(exclude_categories=["Cs"])


def joined(atoms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    runs = st.builds(lambda atom, times: atom * times, atoms, st.sampled_from([1, 1, 1, 2, 3, 70]))
    return st.lists(runs, max_size=30).map("".join)


NASTY = joined(ATOM | ANY)
NASTY_WITH_SURROGATES = joined(ATOM | ANY | st.sampled_from(SURROGATES))
