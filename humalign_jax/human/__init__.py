"""Files of human data turned into records (`human_data`), with the ids of their stimuli."""
