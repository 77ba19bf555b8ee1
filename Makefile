# For those who type make: every target is the verb of the same name of run.py.
.PHONY: demo test serve lint bench services doctor help
demo test serve lint bench services doctor help:
	@python3 run.py $@ $(ARGS)
