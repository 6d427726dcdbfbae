"""The bus: AXI4 and AXI4-Lite signatures, readers, writers and the register slave."""
