"""TensorFlow Recommenders' deep retrieval of its tutorial, with two layers, on ratings that lie in a file.

https://www.tensorflow.org/recommenders/examples/deep_recommenders

python peer_deep_retrieval.py RATINGS.npz EPOCHS BATCH_SIZE THREADS tutorial|cached
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras


class UserModel(keras.Model):
    """Embeddings of the user and of the bucket of the time, and the normalised time."""

    def __init__(self, users: np.ndarray, times: np.ndarray) -> None:
        super().__init__()
        buckets = np.linspace(times.min(), times.max(), num=1000)
        self.user = keras.Sequential(
            [keras.layers.StringLookup(vocabulary=users, mask_token=None), keras.layers.Embedding(len(users) + 1, 32)]
        )
        self.time = keras.Sequential(
            [keras.layers.Discretization(buckets.tolist()), keras.layers.Embedding(len(buckets) + 1, 32)]
        )
        self.normalised = keras.layers.Normalization(axis=None)
        self.normalised.adapt(times)

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """(B,) users and times -> (B, 65)."""
        time = inputs["timestamp"]
        parts = [self.user(inputs["user_id"]), self.time(time), tf.reshape(self.normalised(time), (-1, 1))]
        return tf.concat(parts, axis=1)


class MovieModel(keras.Model):
    """Embeddings of the title and of its words."""

    def __init__(self, titles: np.ndarray) -> None:
        super().__init__()
        self.title = keras.Sequential(
            [keras.layers.StringLookup(vocabulary=titles, mask_token=None), keras.layers.Embedding(len(titles) + 1, 32)]
        )
        vectorizer = keras.layers.TextVectorization(max_tokens=10_000)
        self.words = keras.Sequential(
            [vectorizer, keras.layers.Embedding(10_000, 32, mask_zero=True), keras.layers.GlobalAveragePooling1D()]
        )
        vectorizer.adapt(tf.data.Dataset.from_tensor_slices(titles).batch(128))

    def call(self, titles: tf.Tensor) -> tf.Tensor:
        """(B,) -> (B, 64)."""
        return tf.concat([self.title(titles), self.words(titles)], axis=1)


class Retrieval(tfrs.models.Model):
    """Both towers and the task; the metrics are those of an evaluation, which is not measured here."""

    def __init__(self, query: UserModel, movie: MovieModel) -> None:
        super().__init__()
        self.query, self.movie = (
            keras.Sequential([model, keras.layers.Dense(64, activation="relu"), keras.layers.Dense(32)])
            for model in (query, movie)
        )
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """In-batch softmax."""
        query = self.query({"user_id": features["user_id"], "timestamp": features["timestamp"]})
        return self.task(query, self.movie(features["movie_title"]), compute_metrics=not training)


def main(ratings: str, epochs: str, batch_size: str, threads: str, how: str) -> None:
    """Train as the tutorial does, or with the batches' data cached in memory."""
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    start = time.process_time()
    tf.random.set_seed(42)
    with np.load(ratings) as file:
        columns = {name: file[name] for name in ("movie_title", "user_id", "timestamp")}
        titles = file["titles"]
    data = tf.data.Dataset.from_tensor_slices(columns).shuffle(100_000, seed=42, reshuffle_each_iteration=False)
    train = data.shuffle(100_000).batch(int(batch_size))
    if how == "cached":
        train = train.cache()
    model = Retrieval(UserModel(np.unique(columns["user_id"]), columns["timestamp"]), MovieModel(titles))
    model.compile(optimizer=keras.optimizers.Adagrad(0.1))
    ends: list[float] = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.process_time()))
    model.fit(train, epochs=int(epochs), verbose=0, callbacks=[note])
    found = {"seconds": time.process_time() - start, "steps": int(model.optimizer.iterations), "ends": ends}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
