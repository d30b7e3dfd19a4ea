"""What passes may ask of samples (`Step.needs`), as protocols, and what stands in for samples where there are none."""
