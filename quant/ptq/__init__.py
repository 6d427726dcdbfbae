"""Post-training quantization: fold, observe, choose ranges and remedies, export the integers of docs/integer-contract.md."""
