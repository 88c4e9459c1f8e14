"""Small models that write texts."""

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import TableLM, TableSpec

TEXTS = [
    "The soup was great, so we went back.",
    "In Phoenix the staff was slow.",
    "We went to Phoenix! Great pizza",
]


def bundle_of(
    unit="word",
    seed=0,
    sharpness=1.0,
    texts=TEXTS,
    size=400,
    model=None,
    **options,
):
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=size,
            min_count=1,
            **options,
        ),
        NormalForm(),
    )
    model = model or TableLM.random(vocabulary.size, seed, sharpness)
    return Bundle(TableSpec(), vocabulary, model, stars_prior=(0, 0.1, 0.2, 0.3, 0.4, 0))


def with_table(bundle, weights):
    return Bundle(
        TableSpec(), bundle.vocabulary, TableLM.normalised(weights), stars_prior=bundle.stars_prior
    )
