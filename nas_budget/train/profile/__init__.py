"""What a network takes on a device: latency, memory, training time; and the cost of any module."""
