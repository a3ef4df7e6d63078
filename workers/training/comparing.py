"""Compares the trained model with the closed-form head on the same held-out images.

The head is the one that collections answer by (`app.heads`), fitted on what the base encoder sees in the images that
the model was trained on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from app.collections.tables import Collection
from app.errors import VisionError
from app.heads import LabelShares, SupportSet, fit_head, priors_of
from app.inference.protocols import Encoder, Vectors
from app.jobs.spec import Comparison, Contender
from workers.methods.common.features import Features
from workers.methods.common.splits import targets
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, StoppingError
from workers.shared.metrics import count_confusions, f1_scores
from workers.shared.run import JobRun
from workers.shared.splitting import place_of

SIGNIFICANT = 0.05
"""The trained model is preferred where it is right more often and an exact McNemar test says that such a difference
comes about by chance less often than this."""
_BATCH = 8


def compare(run: JobRun, examples: Examples, judgement: Judgement | None) -> Comparison:
    """Both on the same images, and which of them to use; never raises for what can be said instead.

    Args:
        judgement: What the trained model said of images that were held out; None where there were none.
    """
    most = run.settings.jobs.compare_images
    if not most:
        return Comparison(sentence="Not compared with the closed-form head: VISION_COMPARE_IMAGES is 0.")
    if judgement is None:
        return Comparison(
            sentence="Not compared with the closed-form head: no examples were held out, so nothing is known of images "
            "that neither has seen. Begin with the head, which needs no training. " + _describe_use(run, "")
        )
    try:
        return _compare(run, examples, judgement, most)
    except StoppingError:
        raise
    except Exception as error:  # even a device out of memory: nothing here is worth a trained model
        reason = error.detail if isinstance(error, VisionError) else f"{type(error).__name__}: {error}"
        run.log(f"The closed-form head could not be compared: {reason}")
        return Comparison(sentence=f"Not compared with the closed-form head: {reason}")


def _compare(run: JobRun, examples: Examples, judgement: Judgement, most: int) -> Comparison:
    train_items = _sample_each_label(judgement.train_items, most, run.spec.seed, examples.label_shares)
    sample = _sample_judgement(judgement, most, run.spec.seed)
    truth = np.array([item.label or "" for item in sample.items])
    trained = np.array(sample.predicted)
    word = _encoder_of(run)
    if run.spec.method == "head":
        head, name = trained, word
    else:
        run.log(
            f"Comparing with the closed-form head on {len(train_items)} of the images that were trained on"
        )
        head, name = _predict_by_head(run, examples, train_items, sample.items, word)
    return weigh(
        truth,
        head,
        trained,
        labels=len(examples.labels),
        encoder=name,
        same=run.spec.method == "head",
        evaluated_on=sample.evaluated_on,
        chosen_by=sample.chosen_by,
        fitted_on=(len(train_items), len(judgement.train_items)),
        judged_on=(len(sample.items), len(judgement.items)),
        how=_describe_use(run, name),
    )


def weigh(
    truth: np.ndarray,
    head: np.ndarray,
    trained: np.ndarray,
    *,
    labels: int,
    encoder: str,
    same: bool,
    evaluated_on: str,
    chosen_by: bool,
    fitted_on: tuple[int, int],
    judged_on: tuple[int, int],
    how: str,
) -> Comparison:
    """The figures of what both said of n images (str[n] each), and a sentence that says which to use.

    Args:
        labels: How many there are to choose from.
        same: Whether the trained model is the head itself.
        chosen_by: Whether the trained model's checkpoint was chosen by the same images.
        fitted_on: Images that the head was fitted on, and those that the model was trained on.
        judged_on: Images that both are compared on, and those that the model was judged on.
        how: How to use the head.
    """
    by_head, by_trained = head == truth, trained == truth
    only_head, only_trained = int((by_head & ~by_trained).sum()), int((by_trained & ~by_head).sum())
    p_value = sign_test(only_head, only_trained)
    names, counts = np.unique(truth, return_counts=True)
    found = Comparison(
        use="trained" if only_trained > only_head and p_value < SIGNIFICANT else "head",
        encoder=encoder,
        evaluated_on=evaluated_on,
        images=len(truth),
        head=_contender(truth, head),
        trained=_contender(truth, trained),
        chance=1 / labels,
        commonest=float(counts.max() / len(truth)),
        commonest_label=str(names[counts.argmax()]),
        only_head=only_head,
        only_trained=only_trained,
        p_value=p_value,
    )
    parts = [_verdict(found, same)]
    if found.use == "head" and not same:
        parts.append(how)
    best = max(int(by_head.sum()), int(by_trained.sum()))
    if best <= counts.max():
        parts.append("Neither is right more often than always saying the commonest label.")
    if chosen_by and not same:
        parts.append("The trained model was also chosen by these images, which flatters it.")
    if fitted_on[0] < fitted_on[1] and not same:
        parts.append(f"The head was fitted on {fitted_on[0]:,} of the {fitted_on[1]:,} training images.")
    if judged_on[0] < judged_on[1]:
        parts.append(f"Compared on {judged_on[0]:,} of {judged_on[1]:,} held-out images, chosen by the seed.")
    found.sentence = " ".join(parts)
    return found


def _verdict(found: Comparison, same: bool) -> str:
    head, trained, images, p_value = found.head, found.trained, found.images, found.p_value or 0.0
    apart = (found.only_trained or 0) - (found.only_head or 0)
    if head is None or trained is None:
        return ""
    right = f"{round(head.accuracy * images)} of {images} held-out images"
    if same:
        return (
            f"This model is the closed-form head: right on {right}, like a collection taught the same images."
        )
    many = round(trained.accuracy * images)
    if found.use == "trained":
        return (
            f"Use the trained model: it is right on {many} of {images} held-out images, the closed-form head on "
            f"{round(head.accuracy * images)} (p = {p_value:.2g})."
        )
    if apart < 0:
        noise = "" if p_value < SIGNIFICANT else ", though by no more than chance could do"
        return (
            f"Use the closed-form head, which needs no training: it is right on {right}, the trained model on "
            f"{many}{noise} (p = {p_value:.2g})."
        )
    if apart == 0:
        return f"Use the closed-form head, which needs no training: it is right as often, on {right}."
    return (
        f"Use the closed-form head, which needs no training: it is right on {right}, and the trained model's {many} "
        f"are no more than chance could do (p = {p_value:.2g})."
    )


def sign_test(one: int, other: int) -> float:
    """The two-sided p-value of two counts under a fair coin, exact (McNemar's test without approximation)."""
    count, ways, tail = one + other, 1, 0
    for drawn in range(min(one, other) + 1):
        tail += ways
        ways = ways * (count - drawn) // (drawn + 1)
    return min(1.0, float(2 * tail / 2**count))


def _contender(truth: np.ndarray, said: np.ndarray) -> Contender:
    right = said == truth
    confusion = count_confusions(truth.tolist(), said.tolist(), sorted({*truth.tolist(), *said.tolist()}))
    # by Laplace's rule, since none would be left where all were right
    share = float(right.sum() + 1) / (len(truth) + 2)
    return Contender(
        accuracy=float(right.mean()),
        macro_f1=float(f1_scores(confusion)[confusion.any(axis=1)].mean()),
        standard_error=float(np.sqrt(share * (1 - share) / (len(truth) + 2))),
    )


def _predict_by_head(
    run: JobRun, examples: Examples, taught: Sequence[Item], asked: Sequence[Item], word: str
) -> tuple[np.ndarray, str]:
    """What the closed-form head says, str[n], and its encoder's name; fitted as a collection's is."""
    features = Features(run, examples, base=word)
    labels = examples.labels
    supports = SupportSet(features.encoder.dim)
    supports.add(
        np.array(targets(taught, labels), np.int64), _embed_items(features.encoder, examples, taught)
    )
    texts = features.texts(labels, examples.descriptions)
    head = fit_head(
        labels,
        texts,
        supports,
        list(range(len(labels))),
        priors_of(features.encoder),
        label_shares=examples.label_shares,
    )
    scores = head.predict(_embed_items(features.encoder, examples, asked)).scores
    return np.array(labels)[scores.argmax(axis=1)], features.encoder.name


def _embed_items(encoder: Encoder, examples: Examples, items: Sequence[Item]) -> Vectors:
    """float32[n, d]; no progress is reported, since the steps of a job are those of its training."""
    parts = []
    for start in range(0, len(items), _BATCH):
        pixels = [encoder.preprocess(examples.image(item)) for item in items[start : start + _BATCH]]
        parts.append(encoder.encode_images(np.stack(pixels)))
    return np.concatenate(parts)


def _sample_each_label(
    items: Sequence[Item], most: int, seed: int, label_shares: LabelShares = "equal"
) -> list[Item]:
    """At most so many, but one of each label, and of every label as many as the others where it has them; where the
    collection expects labels by their examples, the others are drawn without regard to their labels.
    """
    by_label: defaultdict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: place_of(item.sha256, seed)):
        by_label[item.label or ""].append(item)
    rounds = [
        (place, number, item)
        for number, label in enumerate(sorted(by_label))
        for place, item in enumerate(by_label[label])
    ]
    if label_shares == "examples":
        rounds.sort(key=lambda row: (row[0] > 0, place_of(row[2].sha256, seed)))
    else:
        rounds.sort(key=lambda row: row[:2])
    return [item for _, _, item in rounds[: max(most, len(by_label))]]


def _sample_judgement(judgement: Judgement, most: int, seed: int) -> Judgement:
    """The same of at most so many items, drawn without regard to their labels."""
    if len(judgement.items) <= most:
        return judgement
    order = sorted(
        range(len(judgement.items)), key=lambda index: place_of(judgement.items[index].sha256, seed)
    )[:most]
    return judgement.of(order)


def _encoder_of(run: JobRun) -> str:
    """The word for the encoder that the head looks through: the trained model's own base, or of a vision-language
    model that learned labels the one that its collection is bound to, or else the service's default.
    """
    if run.spec.base_kind == "encoder":
        return run.spec.base_model or run.settings.models.encoder
    if run.spec.data is not None and run.spec.data.collection is not None:
        with Session(run.engine) as session:
            row = session.get(Collection, run.spec.data.collection)
            if row is not None:
                return row.encoder
    return run.settings.models.encoder


def _describe_use(run: JobRun, encoder: str) -> str:
    data, shares = run.spec.data, run.spec.params.get("label_shares")
    if data is None or data.dataset is None:
        where = f", where its label_shares is {shares}" if shares else ""
        return f"The collection answers by it already{where}: POST /v1/classify."
    bound = f" bound to the encoder '{encoder}'" if encoder else ""
    whose = f" and with label_shares {shares}" if shares == "examples" else ""
    return (
        f"POST /v1/datasets/{data.dataset}/teach teaches it to a collection{bound}{whose}, of which POST /v1/classify "
        "then tells the labels."
    )
