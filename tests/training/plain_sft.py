"""Supervised fine-tuning by hand, with TRL alone: what the local backend is held against.

``python plain_sft.py BASE ROWS OUT EPOCHS``
"""

import sys

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
base, rows, out, epochs = sys.argv[1:]
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(base),
    train_dataset=load_dataset("json", data_files=rows, split="train"),
    args=SFTConfig(
        output_dir=out,
        num_train_epochs=float(epochs),
        learning_rate=3e-3,
        per_device_train_batch_size=8,
        seed=0,
        bf16=False,
        gradient_checkpointing=False,
        assistant_only_loss=True,
        optim="adamw_torch",
        report_to="none",
        save_strategy="no",
        use_cpu=True,
    ),
    peft_config=LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    ),
)
trainer.train()
trainer.save_model(out)
