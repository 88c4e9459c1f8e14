"""A few reviews with all that matters to the cut, and vocabularies of them."""

from hypothesis import strategies as st

from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary

TRAIN = [
    "The food was great, and I loved it! We'll be back.",
    "We drove to Phoenix for the BBQ. I'm a fan of Phoenix, and the BBQ there is great.",
    'Our waiter said "the soup is hot" (it was not).\n\nThe soup was $12.95 at 7:30pm.',
    "Don't go. The take-out isn't worth it - I paid 1,000 for it :(",
    "The café was great... I ate there at 10am with my iPhone, in Phoenix :) :)",
    "On my iPhone, the BBQ looked great; I'd go to the café and the BBQ in Phoenix.",
    "Dr. Smith loves it, Dr. Smith said: the soup, the café/the BBQ & the food!!! Is it 5% off? #1!",
] * 3
UNITS = {
    "word": 400,
    "bpe": 400,
    "unigram": 400,
    "char": 400,
}
LOSSLESS = ["bpe", "unigram", "char"]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def train(unit, texts=TRAIN, **options):
    spec = VocabularySpec(
        unit=unit,
        **{
            "size": UNITS[unit],
            "min_count": 1,
            **options,
        },
    )
    return learn_vocabulary(texts, spec, NormalForm())
