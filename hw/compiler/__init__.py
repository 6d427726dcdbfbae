"""From an artifact to a program: mapping, memory, descriptors and the weight stream.

``compile`` walks the layers; ``allocation`` says in which buffers their results lie, ``places`` in which rows; ``placed`` joins a
layer with these, and ``lower`` makes tasks of each kind. The other modules cut tasks, put them in order and encode them.
"""
