"""What the Verilog's key depends on."""

import json
import subprocess
import sys

from hw import verilog

_IMPORTED = """
import json, sys
import hw.verilog
print(json.dumps([module.__file__ for name, module in sys.modules.items() if name.startswith("hw.") and module.__file__]))
"""


def test_the_key_has_the_sources_that_the_hardware_imports():
    """No less, or old Verilog would be found; no more, or what makes programs would have it converted again."""
    found = json.loads(subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True).stdout)
    root = verilog._ROOT.parent
    imported = {path.removeprefix(f"{root}/") for path in found}
    hashed = {name for name, _ in verilog._SOURCES}
    assert hashed - {"hw/__init__.py"} == imported | {"quant/contract.py"}
