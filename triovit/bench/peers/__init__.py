"""Other quantizers on the networks, calibration pictures and scores that triovit's own is measured with.

They are no part of triovit and have an environment of their own, ``.venv-peers`` (``make peers``). One run measures one of them:

    .venv-peers/bin/python -m triovit.bench.peers --tool nncf --network seg-b0 --size 512x384 --json FILE

All of them keep scales, biases and whatever they do not quantize in floating point, and are scored as they compute in torch;
triovit's numbers come from integers alone.
"""
