"""From images and labels as people have them to our own form: uint8 squares and labels from 0."""
