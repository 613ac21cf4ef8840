# `make quickstart` and `make test` work on a fresh machine with Python >= 3.11, git and make.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
RUN ?= runs/quickstart
# Where CIFAR-10 is; empty is TFDS' default directory.
DATA_DIR ?=
DATA = $(if $(DATA_DIR),--config.data.data_dir=$(DATA_DIR))
# Each is the seed of training and of the split.
DRAWS ?= 0 1 2 3 4
comma := ,
space := $() $()
# Arms of documents, with commas between them; empty is all.
ARMS ?=

.PHONY: quickstart test test-long lint first-hour attack parity docs example-encoder choose-digits results-digits \
  results-digits-unseen results-digits-ablation results-multi-digits \
  results-cifar10-cpu results-cifar10-best-cpu results-cifar10-encoder gpu-results choose-documents results-documents \
  results-documents-arms results-features \
  tables benchmark clean

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	@touch $@

# Learns, evaluates and searches codes on a data set that needs no download.
quickstart: $(VENV)/.installed
	$(PY) train.py --config configs/digits_16bit.py --workdir $(RUN)
	$(PY) eval.py --workdir $(RUN) --report
	$(PY) -m tools.digits_folder $(RUN)/digits
	$(PY) search.py index --model $(RUN) --images $(RUN)/digits --index $(RUN)/index
	$(PY) search.py query --index $(RUN)/index --image examples/digits/3a.png --top 6 \
	  --show $(RUN)/answer.png
	@echo "Codes: $(RUN)/codes.npz  measures: $(RUN)/eval.json  pictures: $(RUN)/report/report.html"
	@echo "The answer to a query: $(RUN)/answer.png"

# One file is for one process; the order is that of tests/conftest.py, the longest files first.
PYTEST = $(PY) -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST) -m "not long" tests

# What takes a minute or more a test, some of it the same as `make first-hour` at small size.
test-long: $(VENV)/.installed
	$(PYTEST) -m long tests

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m mypy

# The first hour of three new users, with the docs' own commands; less than ten minutes.
first-hour: $(VENV)/.installed
	$(PY) -m tools.first_hour

# Kills, flipped bits, races and absurd configs; about half an hour.
attack: $(VENV)/.installed
	$(PY) -m tools.attack

# The encoder that README.md, docs/ and notebooks/ load, and its measures: half of the quick start's
# filters, so that the file is small.
example-encoder: $(VENV)/.installed
	$(PY) train.py --config configs/digits_16bit.py --workdir runs/example \
	  --config.representation.width=16
	$(PY) eval.py --workdir runs/example --result examples/digits_16bit.json
	$(PY) -c "from dsh_jax import load_encoder; \
	  load_encoder('runs/example').save('examples/digits_16bit.safetensors')"

# Tunes every arm of configs/digits_arms.py on validation images; an hour.
choose-digits: $(VENV)/.installed
	tools/choose_arms.sh digits

# The results on digits, with 5 and with 20 labels per class: every arm as tuned, without and with
# consistency, the class target "zero", the paper's form, CNNH+, the best recipe and baselines. A
# quarter of an hour a draw.
LABELS ?= 5 20
results-digits: $(VENV)/.installed
	for labels in $(LABELS); do for draw in $(DRAWS); do \
	  config=--config.data.labeled_per_class=$$labels; name=digits_16bit_$${labels}labels; \
	  for arm in gan gan_real network; do for more in "" +consistency; do \
	    tools/run.sh $${name}_arm_$$arm$$more digits_arms.py:$$arm$$more $$draw $$config || exit 1; \
	  done; done; \
	  tools/run.sh $${name}_arm_gan_zero digits_arms.py:gan $$draw $$config \
	    --config.loss.unlabeled=zero && \
	  tools/run.sh $${name}_paper digits_16bit_paper.py $$draw $$config && \
	  BASELINES="itq lsh" \
	    tools/run.sh $${name}_cnnh_plus cnnh_plus_digits_16bit.py $$draw $$config && \
	  BASELINES="features_itq classifier graded" \
	    tools/run.sh $${name}_best digits_16bit_best.py $$draw $$config || exit 1; done; done

# The best recipe on digits, 5 labels per class, with one part changed at a time; a few minutes a draw.
results-digits-ablation: $(VENV)/.installed
	for draw in $(DRAWS); do \
	  part() { \
	    name=$$1; shift; \
	    tools/run.sh digits_16bit_5labels_best_$$name digits_16bit_best.py $$draw \
	      --config.data.labeled_per_class=5 "$$@" || exit 1; \
	  }; \
	  part no_consistency --config.consistency.batch_size=0 --config.num_steps=1000; \
	  part weak_views --config.consistency.rotate=0 --config.consistency.shear=0 \
	    --config.consistency.scale=0 --config.consistency.shift=0 --config.consistency.colour=0 \
	    --config.consistency.cutout=0; \
	  part no_alignment --config.consistency.alignment=False; \
	  part threshold_0 --config.consistency.threshold=0; \
	  part threshold_95 --config.consistency.threshold=0.95; \
	  part no_average --config.ema_decay=0; \
	  part dpn --config.loss.center=dpn; \
	  part orthohash --config.loss.center=orthohash; done

# Digits of three classes that training never saw, another three in each draw; two minutes a draw.
results-digits-unseen: $(VENV)/.installed
	for draw in $(DRAWS); do unseen=--config.data.unseen_classes=3; name=digits_16bit_unseen; \
	  BASELINES="features_itq graded itq cosine" \
	    tools/run.sh $${name}_best digits_16bit_best.py $$draw $$unseen && \
	  BASELINES="features_itq" \
	    tools/run.sh $${name}_cnnh_plus cnnh_plus_digits_16bit.py $$draw $$unseen && \
	  BASELINES="features_itq" \
	    tools/run.sh $${name} digits_16bit.py $$draw $$unseen || exit 1; done

# The best recipe on CIFAR-10, on the CPU; takes two hours a draw.
results-cifar10-best-cpu: $(VENV)/.installed
	for draw in $(DRAWS); do BASELINES="features_itq classifier graded" \
	  tools/run.sh cifar10_48bit_best_cpu cifar10_48bit_best_cpu.py $$draw $(DATA) \
	  || exit 1; done

# What the encoder in examples/ gives beside its own codes: codes of other lengths by ITQ on its
# features, and both kinds of codes over shifted views; an hour on one core, no training.
ENCODER = examples/cifar10_48bit.safetensors
SHIFTED = runs/cifar10_48bit_shifted.safetensors
MEASURE = $(PY) eval.py --config configs/cifar10_48bit_best_cpu.py $(DATA)
BEST = results/cifar10_48bit_best_cpu
results-cifar10-encoder: $(VENV)/.installed
	for bits in 12 24 32; do $(MEASURE) --encoder $(ENCODER) --baseline features_itq \
	  --num_bits $$bits --result $(BEST)_features_itq_$${bits}bit_draw0.json || exit 1; done
	$(PY) -c "from dsh_jax import load_encoder; \
	  load_encoder('$(ENCODER)').with_views(mirrored=True, shifted=1).save('$(SHIFTED)')"
	$(MEASURE) --config.shifted=1 --encoder $(SHIFTED) --result $(BEST)_shifted_draw0.json
	$(MEASURE) --config.shifted=1 --encoder $(SHIFTED) --baseline features_itq \
	  --result $(BEST)_shifted_features_itq_draw0.json

# The full-size results on CIFAR-10, on a GPU: at most MINUTES=8 of work; run it again to go on.
gpu-results: $(VENV)/.installed
	tools/gpu_results.sh $(DATA)

# The results on images of several digits; takes a few minutes a draw.
results-multi-digits: $(VENV)/.installed
	for draw in $(DRAWS); do \
	  BASELINES="itq lsh classifier" \
	    tools/run.sh multi_digits_24bit multi_digits_24bit.py $$draw && \
	  tools/run.sh multi_digits_24bit_control multi_digits_24bit.py $$draw \
	    --config.gan=False --config.triplets=real --config.num_steps=1500 || exit 1; done

# The results on CIFAR-10, on the CPU; takes two hours a draw. DATA_DIR=... is the data's directory.
results-cifar10-cpu: $(VENV)/.installed
	for draw in $(DRAWS); do \
	  BASELINES="itq lsh classifier" \
	    tools/run.sh cifar10_48bit_cpu cifar10_48bit_cpu.py $$draw $(DATA) && \
	  BASELINES="classifier graded" \
	    tools/run.sh cifar10_48bit_paper_cpu cifar10_48bit_paper_cpu.py $$draw $(DATA) && \
	  tools/run.sh cifar10_48bit_cpu_control cifar10_48bit_cpu.py $$draw $(DATA) \
	    --config.gan=False --config.triplets=real --config.num_steps=8000 \
	    --config.eval_every_steps=400 && \
	  tools/run.sh cnnh_plus_cifar10_48bit cnnh_plus_cifar10.py:48 $$draw $(DATA) && \
	  tools/run.sh cnnh_cifar10_48bit cnnh_cifar10.py:48 $$draw $(DATA) || exit 1; done

# Tunes every arm of configs/documents_arms.py on validation documents; hours. DATA_DIR=... holds the
# archives. Run it again to go on.
choose-documents: $(VENV)/.installed
	for collection in reuters newsgroups; do \
	  $(PY) -m tools.choose_documents $$collection $(DATA_DIR) || exit 1; done

# The results on documents: by number of bits, and of the arms as tuned; hours a draw. DATA_DIR=...
# holds the archives.
results-documents: $(VENV)/.installed
	for draw in $(DRAWS); do for corpus in reuters newsgroups; do for bits in 8 16 32 64 128; do \
	  at="--config.num_bits=$$bits $(DATA)"; \
	  BASELINES="itq lsh topics topics_itq" FOLDER=documents \
	    tools/run.sh shttm_$${corpus}_$${bits}bit shttm_$${corpus}_32bit.py $$draw $$at && \
	  FOLDER=documents tools/run.sh shttm_published_$${corpus}_$${bits}bit \
	    shttm_published_$${corpus}_32bit.py $$draw $$at && \
	  FOLDER=documents tools/run.sh shttm_neural_$${corpus}_$${bits}bit \
	    shttm_neural_$${corpus}_32bit.py $$draw $$at || exit 1; done; done; done
	$(MAKE) results-documents-arms

results-documents-arms: $(VENV)/.installed
	for collection in reuters newsgroups; do \
	  $(PY) -m tools.measure_documents $$collection $(DATA_DIR) $(if $(ARMS),--arms $(ARMS)) \
	    --draws $(subst $(space),$(comma),$(strip $(DRAWS))) || exit 1; done

# The results on vectors: embeddings of CIFAR-10 by the encoder of examples/; a few minutes and, for
# the embeddings, a few more. Draw 0 alone: that is the split whose labels the encoder has seen.
results-features: $(VENV)/.installed
	$(PY) -m tools.embed --encoder examples/cifar10_48bit.safetensors \
	  --config configs/cifar10_48bit_best_cpu.py --output runs/cifar10_vectors \
	  $(if $(DATA_DIR),--data_dir $(DATA_DIR))
	BASELINES="itq pca lsh cosine classifier" tools/run.sh features_cifar10_48bit \
	  features_cifar10_48bit.py 0 --config.data.root=runs/cifar10_vectors
	tools/run.sh features_cifar10_48bit_control features_cifar10_48bit.py 0 \
	  --config.data.root=runs/cifar10_vectors --config.gan=False --config.triplets=real \
	  --config.num_steps=3300

# Writes the tables of README.md, docs/results.md, docs/speed.md and docs/pretrained.md from results/.
tables: $(VENV)/.installed
	$(PY) -m tools.results_table
	$(PY) -m tools.speed_table
	$(PY) -m tools.growth_plot
	$(PY) -m tools.scaling_table
	$(PY) -m tools.parity --table

# Features of pretrained networks beside PyTorch's, on random weights; PyTorch has its own environment.
parity: $(VENV)/.installed $(VENV)-parity/.installed
	$(VENV)-parity/bin/python tools/parity_references.py runs/parity
	$(PY) -m tools.parity runs/parity --result results/parity/features.json
	$(PY) -m tools.parity --table

$(VENV)-parity/.installed: requirements-parity.txt
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet -r requirements-parity.txt
	@touch $@

# Builds the documentation as a site, in site/.
docs: $(VENV)/.installed-docs
	$(PY) -m mkdocs build --strict

$(VENV)/.installed-docs: requirements-docs.txt $(VENV)/.installed
	$(PY) -m pip install --quiet -r requirements-docs.txt
	@touch $@

benchmark: $(VENV)/.installed
	$(PY) -m benchmarks.convolution
	$(PY) -m benchmarks.cnnh_codes --result results/speed/cnnh_codes.json
	$(PY) -m benchmarks.shttm_codes --result results/speed/shttm_codes.json
	$(PY) -m benchmarks.evaluate --result results/speed/evaluate.json
	$(PY) -m benchmarks.streaming --result results/speed/streaming.json
	$(PY) -m benchmarks.features --result results/speed/features.json
	$(PY) -m benchmarks.search --result results/speed/search.json
	$(PY) -m benchmarks.train_step --config configs/cifar10_48bit_cpu.py $(DATA) \
	  --result results/speed/train_step.json

clean:
	rm -rf $(VENV) runs site
