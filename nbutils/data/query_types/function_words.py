"""English words that say how a sentence is built and not what it is about, by kind; the others are content words."""

from nbutils.text import has_unspaced, words

_WORDS = {
    kind: frozenset(listed.split())
    for kind, listed in {
        "articles": "a an the",
        "question words": "what which who whom whose",
        "adverbs of questions": "how when where why",
        "auxiliaries": "am are be been being is was were do did does doing done had has have having can cannot could "
        "may might must shall should will would ain aren couldn didn doesn don hadn hasn haven isn "
        "mustn shan shouldn wasn weren won wouldn",
        "pronouns": "he her hers herself him himself his i it its itself me my myself one our ours ourselves she "
        "someone somebody something that their theirs them themselves there these they this those us "
        "we you your yours yourself",
        "prepositions": "about above across after against along among around as at before behind below beneath beside "
        "besides between beyond by despite down during for from in inside into like near of off on "
        "onto out outside over per since through throughout to toward towards under until up upon via "
        "with within without",
        "others": "all also and any because both but each either else even every few if just least less many "
        "more most much neither no nor not now once only or other others own same so some such than "
        "then though too very whether while",
    }.items()
}
ARTICLES = _WORDS["articles"]
QUESTION_WORDS = _WORDS["question words"]
AUXILIARIES = _WORDS["auxiliaries"]
PREPOSITIONS = _WORDS["prepositions"]
FUNCTION_WORDS = frozenset().union(*_WORDS.values())


def content_words(text: str) -> list[str]:
    """The words of the text in lower case, in order, without function words and single letters and digits.

    In scripts without spaces between words a single letter is a word.
    """
    found = [word for word in words(text.lower()) if word not in FUNCTION_WORDS]
    return [word for word in found if len(word) > 1 or has_unspaced(word)]
