"""Would this file train this model as intended?"""
