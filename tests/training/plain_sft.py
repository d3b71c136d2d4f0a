"""Supervised fine-tuning by hand, with TRL alone: what the local backend is held against.

``python plain_sft.py BASE ROWS OUT --epochs 10``; prints the trainer's metrics as JSON.
"""

import argparse
import json

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

parser = argparse.ArgumentParser()
parser.add_argument("base")
parser.add_argument("rows")
parser.add_argument("out")
parser.add_argument("--epochs", type=float, required=True)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--cuda", action="store_true", help="on the GPU, in bfloat16")
parser.add_argument("--any-order", action="store_true", help="operations may differ in their bits")
given = parser.parse_args()

torch.set_num_threads(1)
torch.use_deterministic_algorithms(not given.any_order)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(
        given.base, dtype=torch.bfloat16 if given.cuda else torch.float32
    ),
    processing_class=AutoTokenizer.from_pretrained(given.base),
    train_dataset=load_dataset("json", data_files=given.rows, split="train"),
    args=SFTConfig(
        output_dir=given.out,
        num_train_epochs=given.epochs,
        learning_rate=3e-3,
        per_device_train_batch_size=given.batch_size,
        seed=0,
        bf16=given.cuda,
        gradient_checkpointing=False,
        assistant_only_loss=True,
        optim="adamw_torch",
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=not given.cuda,
    ),
    peft_config=LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    ),
)
metrics = trainer.train().metrics
trainer.save_model(given.out)
tokens = [log["num_tokens"] for log in trainer.state.log_history if "num_tokens" in log][-1]
print(json.dumps({**metrics, "tokens": tokens}))
