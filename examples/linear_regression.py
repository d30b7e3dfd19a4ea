import numpy as np
import tensorflow as tf

import tfopt


class Linear(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)


x = np.array([[-1], [0], [1], [2], [3], [4]], np.float32)
model = Linear()
model.compile("sgd", "mse")
model.fit(x, 2 * x - 1, epochs=300, verbose=0)
model.export("linear", verbose=False)
tfopt.publish("linear", "models/linear")
with tfopt.Server("models/linear", port=0) as server:
    print(tfopt.Client(server.url).predict("linear", np.array([[5.0]], np.float32)))
