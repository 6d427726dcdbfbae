"""The cycle model: what the hardware will take, before it is simulated."""
